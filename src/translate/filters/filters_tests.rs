//! What Envoy gets of filters, and of what routes say to them.

use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use prost::{Message as _, Name as _};
use serde_json::{Value, json};

use super::chain;
use super::guard::guards;
use crate::model::filters::{Authorization, Compression, Filters, Jwt, Keys, Range, RateLimit};
use crate::model::route::RouteRule;
use crate::model::route::extras::Admitted;
use crate::model::{Secret, Secrets};
use crate::render;
use envoy_types::pb::envoy::config::route::v3::Route;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

fn issuer(keys: Keys, require: bool) -> Jwt {
    Jwt {
        issuer: "https://login.example.com".into(),
        audiences: vec!["shop".into()],
        keys,
        header: None,
        require,
    }
}

/// Each filter in a line, without its type.
fn seen(filters: &Filters, secrets: &Secrets) -> String {
    let all = chain("edge", filters, secrets, None);
    let lines = all.iter().map(|filter| {
        let json = render::json(&HttpFilter::full_name(), &filter.encode_to_vec()).unwrap();
        let mut config = json["typed_config"].clone();
        config.as_object_mut().unwrap().remove("@type");
        format!("{} {config}\n", json["name"].as_str().unwrap())
    });
    lines.collect()
}

#[test]
fn nothing_of_the_operators_stands_where_nothing_is_said() {
    let expected = expect![[r#"
        envoy.filters.http.cors {}
        envoy.filters.http.rbac {"rules_stat_prefix":"callers","shadow_rules_stat_prefix":"callers"}
        envoy.filters.http.local_ratelimit {"stat_prefix":"route"}
        xds-bridge.gzip {"compressor_library":{"name":"gzip","typed_config":{"@type":"type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip"}}}
        xds-bridge.zstd {"compressor_library":{"name":"zstd","typed_config":{"@type":"type.googleapis.com/envoy.extensions.compression.zstd.compressor.v3.Zstd"}}}
        xds-bridge.brotli {"choose_first":true,"compressor_library":{"name":"brotli","typed_config":{"@type":"type.googleapis.com/envoy.extensions.compression.brotli.compressor.v3.Brotli"}}}
        envoy.filters.http.router {}
    "#]];
    expected.assert_eq(&seen(&Filters::default(), &Secrets::new()));
}

#[test]
fn each_filter_of_the_operators_is_one_of_its_own() {
    let remote = Keys::Remote {
        url: "https://login.example.com/keys".into(),
        service: "login".into(),
        cache: Duration::from_secs(300),
    };
    let filters = Filters {
        allow_ips: vec![Range::parse("10.0.0.0/8").unwrap()],
        deny_ips: vec![Range::parse("10.9.0.0/16").unwrap()],
        rate_limit: Some(RateLimit::parse("100/s:200").unwrap()),
        jwt: [
            (Arc::from("corp"), issuer(Keys::File, true)),
            (Arc::from("other"), issuer(remote.clone(), true)),
            (
                Arc::from("partner"),
                Jwt {
                    header: Some("x-partner".into()),
                    ..issuer(remote, false)
                },
            ),
        ]
        .into(),
        authorization: Some(Authorization {
            service: "check".into(),
            grpc: true,
            timeout: Duration::from_secs(1),
            open: false,
            path_prefix: String::new(),
            request_headers: Vec::new(),
            upstream_headers: Vec::new(),
        }),
        compress: vec![Compression::Gzip],
        ..Filters::default()
    };
    let secret = Secret {
        jwks: Some(b"{}".as_slice().into()),
        ..Secret::default()
    };
    let secrets = Secrets::from([(Secret::jwks_name("edge", "corp").into(), secret)]);
    expect![[r#"
        xds-bridge.addresses {"rules":{"policies":{"these":{"permissions":[{"any":true}],"principals":[{"and_ids":{"ids":[{"or_ids":{"ids":[{"remote_ip":{"address_prefix":"10.0.0.0","prefix_len":8}}]}},{"not_id":{"or_ids":{"ids":[{"remote_ip":{"address_prefix":"10.9.0.0","prefix_len":16}}]}}}]}}]}}},"rules_stat_prefix":"addresses"}
        xds-bridge.rate-limit {"filter_enabled":{"default_value":{"numerator":100}},"filter_enforced":{"default_value":{"numerator":100}},"stat_prefix":"exposure","token_bucket":{"fill_interval":"1s","max_tokens":200,"tokens_per_fill":100}}
        envoy.filters.http.cors {}
        envoy.filters.http.rbac {"rules_stat_prefix":"callers","shadow_rules_stat_prefix":"callers"}
        envoy.filters.http.jwt_authn {"providers":{"corp":{"audiences":["shop"],"forward":true,"issuer":"https://login.example.com","local_jwks":{"inline_bytes":"e30="}},"other":{"audiences":["shop"],"forward":true,"issuer":"https://login.example.com","remote_jwks":{"cache_duration":"300s","http_uri":{"cluster":"login","timeout":"5s","uri":"https://login.example.com/keys"}}},"partner":{"audiences":["shop"],"forward":true,"from_headers":[{"name":"x-partner"}],"issuer":"https://login.example.com","remote_jwks":{"cache_duration":"300s","http_uri":{"cluster":"login","timeout":"5s","uri":"https://login.example.com/keys"}}}},"requirement_map":{"corp":{"requires_all":{"requirements":[{"requires_any":{"requirements":[{"provider_name":"corp"},{"provider_name":"other"}]}},{"provider_name":"corp"}]}},"other":{"requires_all":{"requirements":[{"requires_any":{"requirements":[{"provider_name":"corp"},{"provider_name":"other"}]}},{"provider_name":"other"}]}},"partner":{"requires_all":{"requirements":[{"requires_any":{"requirements":[{"provider_name":"corp"},{"provider_name":"other"}]}},{"provider_name":"partner"}]}}},"rules":[{"match":{"prefix":"/"},"requires":{"requires_any":{"requirements":[{"provider_name":"corp"},{"provider_name":"other"}]}}}]}
        xds-bridge.authorization {"grpc_service":{"envoy_grpc":{"cluster_name":"check"},"timeout":"1s"},"transport_api_version":"V3"}
        envoy.filters.http.local_ratelimit {"stat_prefix":"route"}
        xds-bridge.gzip {"compressor_library":{"name":"gzip","typed_config":{"@type":"type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip"}}}
        xds-bridge.zstd {"compressor_library":{"name":"zstd","typed_config":{"@type":"type.googleapis.com/envoy.extensions.compression.zstd.compressor.v3.Zstd"}}}
        xds-bridge.brotli {"choose_first":true,"compressor_library":{"name":"brotli","typed_config":{"@type":"type.googleapis.com/envoy.extensions.compression.brotli.compressor.v3.Brotli"}}}
        envoy.filters.http.router {}
    "#]].assert_eq(&seen(&filters, &secrets));
    // The same bytes each time.
    let bytes = || -> Vec<Vec<u8>> {
        let all = chain("edge", &filters, &secrets, None);
        all.iter().map(prost::Message::encode_to_vec).collect()
    };
    let first = bytes();
    assert!((0..20).all(|_| bytes() == first));
}

#[test]
fn without_keys_of_what_is_required_nobody_passes() {
    let filters = Filters {
        jwt: [(Arc::from("corp"), issuer(Keys::File, true))].into(),
        ..Filters::default()
    };
    let seen = seen(&filters, &Secrets::new());
    assert!(seen.starts_with(r#"xds-bridge.addresses {"rules":{},"#), "{seen}");
    assert!(!seen.contains("jwt_authn"), "{seen}");
}

fn said(words: &str, admitted: Option<Admitted>) -> Value {
    let mut extras = RouteRule::parse(words).unwrap().extras;
    extras.admitted = admitted;
    let route = Route {
        typed_per_filter_config: guards(&extras).into_iter().collect(),
        ..Route::default()
    };
    let json = render::json(&Route::full_name(), &route.encode_to_vec()).unwrap();
    json.get("typed_per_filter_config").cloned().unwrap_or(json!({}))
}

fn check(words: &str, admitted: Option<Admitted>, expected: &Expect) {
    let said = said(words, admitted);
    expected.assert_eq(&serde_json::to_string_pretty(&said).unwrap());
}

#[test]
fn a_route_says_to_filters_what_it_declares() {
    check("path=/", None, &expect!["{}"]);
    check(
        "path=/ rate-limit=10/m jwt=corp compress=gzip",
        None,
        &expect![[r#"
            {
              "envoy.filters.http.jwt_authn": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
                "requirement_name": "corp"
              },
              "envoy.filters.http.local_ratelimit": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
                "filter_enabled": {
                  "default_value": {
                    "numerator": 100
                  }
                },
                "filter_enforced": {
                  "default_value": {
                    "numerator": 100
                  }
                },
                "stat_prefix": "route",
                "token_bucket": {
                  "fill_interval": "60s",
                  "max_tokens": 10,
                  "tokens_per_fill": 10
                }
              },
              "xds-bridge.brotli": {
                "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                "disabled": true
              },
              "xds-bridge.gzip": {
                "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                "config": {
                  "@type": "type.googleapis.com/envoy.extensions.filters.http.compressor.v3.CompressorPerRoute",
                  "overrides": {
                    "response_direction_config": {}
                  }
                }
              },
              "xds-bridge.zstd": {
                "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                "disabled": true
              }
            }"#]],
    );
    let admitted = |identities: &[&str], enforced| {
        Some(Admitted {
            identities: identities.iter().map(|one| (*one).to_owned()).collect(),
            enforced,
        })
    };
    check(
        "path=/",
        admitted(&["spiffe://shop/web", "dns:edge-*.shop"], true),
        &expect![[r#"
            {
              "envoy.filters.http.rbac": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
                "rbac": {
                  "rules": {
                    "policies": {
                      "these": {
                        "permissions": [
                          {
                            "any": true
                          }
                        ],
                        "principals": [
                          {
                            "authenticated": {
                              "principal_name": {
                                "exact": "spiffe://shop/web"
                              }
                            }
                          },
                          {
                            "authenticated": {
                              "principal_name": {
                                "safe_regex": {
                                  "regex": "edge\\-[^/:]+\\.shop"
                                }
                              }
                            }
                          }
                        ]
                      }
                    }
                  }
                }
              }
            }"#]],
    );
    check(
        "path=/",
        admitted(&[], false),
        &expect![[r#"
            {
              "envoy.filters.http.rbac": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
                "rbac": {
                  "shadow_rules": {}
                }
              }
            }"#]],
    );
}

/// The rules of the one filter for addresses and identities, without what all of them have.
fn admits(words: &str, admitted: Option<Admitted>) -> String {
    let said = said(words, admitted);
    let rbac = &said["envoy.filters.http.rbac"]["rbac"];
    let of = |rules: &str| {
        let principals = &rbac[rules]["policies"]["these"]["principals"];
        principals
            .as_array()
            .map_or("-".to_owned(), |all| json!(all).to_string())
    };
    let any = [
        r#"{"address_prefix":"0.0.0.0","prefix_len":0}"#,
        r#"{"address_prefix":"::","prefix_len":0}"#,
    ];
    let text = format!("{} | {}", of("rules"), of("shadow_rules"));
    let text = any.iter().fold(text, |text, any| text.replace(any, "ANY"));
    text.replace(r#"{"remote_ip":ANY},{"remote_ip":ANY}"#, "ALL")
}

#[test]
fn clients_of_a_route_are_known_by_address_and_identity_together() {
    let web = |enforced| {
        Some(Admitted {
            identities: vec!["spiffe://x/web".to_owned()],
            enforced,
        })
    };
    let (allowed, name) = (
        r#"{"remote_ip":{"address_prefix":"10.0.0.0","prefix_len":8}}"#,
        r#"{"authenticated":{"principal_name":{"exact":"spiffe://x/web"}}}"#,
    );
    let addresses = format!(r#"{{"and_ids":{{"ids":[{{"or_ids":{{"ids":[{allowed}]}}}}]}}}}"#);
    assert_eq!(
        admits("path=/ allow-ips=10.0.0.0/8", None),
        format!("[{addresses}] | -")
    );
    assert_eq!(
        admits("path=/ allow-ips=10.0.0.0/8", web(true)),
        format!(r#"[{{"and_ids":{{"ids":[{{"or_ids":{{"ids":[{name}]}}}},{addresses}]}}}}] | -"#)
    );
    assert_eq!(
        admits("path=/ allow-ips=10.0.0.0/8", web(false)),
        format!("[{addresses}] | [{name}]")
    );
    assert_eq!(admits("path=/", web(true)), format!("[{name}] | -"));
    // Who has no address is none of those that are not denied.
    let denied = format!(r#"{{"not_id":{{"or_ids":{{"ids":[{allowed}]}}}}}}"#);
    assert_eq!(
        admits("path=/ deny-ips=10.0.0.0/8", None),
        format!(r#"[{{"and_ids":{{"ids":[{{"or_ids":{{"ids":[ALL]}}}},{denied}]}}}}] | -"#)
    );
    let nobody = Some(Admitted {
        identities: Vec::new(),
        enforced: true,
    });
    assert_eq!(
        admits("path=/ allow-ips=10.0.0.0/8", nobody),
        "- | -",
        "rules without a policy"
    );
}

#[test]
fn where_headers_say_who_calls_the_connection_must_pass_as_well() {
    let mut extras = RouteRule::parse("path=/ allow-ips=10.0.0.0/8 deny-ips=10.9.0.0/16")
        .unwrap()
        .extras;
    if let Some(clients) = &mut extras.clients {
        clients.connection = true;
    }
    let route = Route {
        typed_per_filter_config: guards(&extras).into_iter().collect(),
        ..Route::default()
    };
    let json = render::json(&Route::full_name(), &route.encode_to_vec())
        .unwrap()
        .to_string();
    assert_eq!(json.matches("\"remote_ip\"").count(), 2, "{json}");
    assert_eq!(json.matches("\"direct_remote_ip\"").count(), 2, "{json}");
    assert_eq!(json.matches("\"not_id\"").count(), 2, "{json}");
}
