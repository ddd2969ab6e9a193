module xds-bridge/integration/tools/consul

// Of this version's own time: it decides the defaults of the runtime and of TLS.
go 1.20

require github.com/hashicorp/consul v1.14.11
