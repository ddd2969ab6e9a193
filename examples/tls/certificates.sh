# A CA, and certificates for the bridge and one Envoy (OpenSSL 3), into the folder `tls`. The same as in docs/tls.md.
set -e
mkdir -p tls
new() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "$@"; }
leaf() { new -CA tls/ca.pem -CAkey tls/ca-key.pem -days 90 -addext basicConstraints=critical,CA:FALSE "$@"; }
new -days 3650 -subj "/CN=bridge CA" -keyout tls/ca-key.pem -out tls/ca.pem
leaf -subj /CN=bridge -addext subjectAltName=IP:127.0.0.1 -keyout tls/bridge-key.pem -out tls/bridge.pem
leaf -subj /CN=envoy -addext subjectAltName=URI:spiffe://shop/ns/edge/envoy-1 -keyout tls/envoy-key.pem -out tls/envoy.pem
