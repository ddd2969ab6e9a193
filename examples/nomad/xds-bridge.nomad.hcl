# Two bridges as a Nomad job, beside the Consul agent of each client.
#
#   nomad job run examples/nomad/xds-bridge.nomad.hcl
#
# A change of the template is a reload (SIGHUP): no stream is cut.
job "xds-bridge" {
  datacenters = ["*"]
  type        = "service"

  update {
    max_parallel     = 1
    health_check     = "checks"
    min_healthy_time = "10s"
    healthy_deadline = "3m"
    auto_revert      = true
  }

  group "bridge" {
    count = 2

    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }

    network {
      mode = "host"
      port "xds" { static = 18000 }
      port "admin" { static = 18001 }
    }

    # The last known state, for a start while Consul is away.
    ephemeral_disk {
      sticky  = true
      migrate = true
      size    = 500
    }

    service {
      name = "xds-bridge"
      port = "xds"
      tags = ["xds.expose=none"] # itself is nothing that Envoys call

      check {
        name     = "ready"
        type     = "http"
        port     = "admin"
        path     = "/readyz"
        interval = "5s"
        timeout  = "3s"
      }
    }

    task "xds-bridge" {
      driver       = "docker"
      kill_timeout = "30s"

      config {
        image        = "xds-bridge:0.1.0" # built by the Dockerfile
        network_mode = "host"
        args         = ["run", "--config", "${NOMAD_TASK_DIR}/bridge.toml"]
      }

      template {
        destination   = "local/bridge.toml"
        change_mode   = "signal"
        change_signal = "SIGHUP"
        data          = <<-BRIDGE
          [xds]
          listen = "0.0.0.0:18000"
          allow_plaintext = true       # or [xds.tls], as docs/tls.md has it

          [admin]
          listen = "0.0.0.0:18001"

          [sources.consul]
          kind = "consul"
          address = "http://127.0.0.1:8500"

          [cache]
          folder = "/alloc/data/xds-bridge"

          [exposures.edge]
          hosts = ["api.example.com"]

          [listeners.edge]
          address = "0.0.0.0:10000"
          exposure = "edge"
        BRIDGE
      }

      resources {
        cpu    = 500
        memory = 768
      }
    }
  }
}
