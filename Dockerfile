# syntax=docker/dockerfile:1
#
#   docker build -t xds-bridge .
#   docker run --rm -p 18000:18000 -p 18001:18001 -v "$PWD/bridge.toml:/etc/xds-bridge/bridge.toml:ro" xds-bridge
#
# The image's own bridge.toml names no source: mount yours over it (with what it names by relative paths), or mount
# a whole folder over /etc/xds-bridge. Single keys can be overridden with variables, as below.

FROM rust:1-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends libprotobuf-dev protobuf-compiler \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches stay out of the image and make the next build quick, so the binary is copied out of its own.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin xds-bridge \
    && cp target/release/xds-bridge /usr/local/bin/xds-bridge

# The same Debian as the builder's, so that the C library fits.
FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="xds-bridge" \
      org.opencontainers.image.description="Exposes the services of Consul and etcd to Envoy by xDS" \
      org.opencontainers.image.licenses="Apache-2.0"
# ca-certificates: the roots that https:// registries are checked against; without them such a connection fails.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/xds-bridge /usr/local/bin/xds-bridge
COPY LICENSE /usr/share/doc/xds-bridge/LICENSE
# Relative paths in bridge.toml start here.
WORKDIR /etc/xds-bridge
COPY bridge.toml ./

# bridge.toml listens on loopback, which nothing outside the container reaches.
ENV XDS_BRIDGE__XDS__LISTEN=0.0.0.0:18000 \
    XDS_BRIDGE__XDS__ALLOW_PLAINTEXT=true \
    XDS_BRIDGE__ADMIN__LISTEN=0.0.0.0:18001
# 18000: xDS, for Envoy. 18001: admin (/healthz, /readyz, /metrics); publish it only where you trust the network.
EXPOSE 18000 18001
# A number, so that Kubernetes can tell it is not root.
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["xds-bridge", "health"]
ENTRYPOINT ["xds-bridge"]
CMD ["run", "--config", "/etc/xds-bridge/bridge.toml"]
