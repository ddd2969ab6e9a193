//! What newer Consuls put into health answers: several ports (1.22) and localities (1.16, Enterprise).

use super::tests::{entry, health};

/// As Consul 1.22 answers for a service with several ports.
#[test]
fn of_several_ports_the_default_is_served() {
    let of = |service: &str| {
        let body = format!(
            r#"[{{"Node":{{"Node":"n1","Address":"10.0.0.1"}},"Service":{{"ID":"orders-1","Service":"orders",{service}}}}}]"#
        );
        let record = health(body.as_bytes()).unwrap().record.unwrap();
        match &record.instances[..] {
            [one] => Ok(one.address.to_string()),
            _ => Err(record.issues[0].reason.clone()),
        }
    };
    let two =
        r#""Ports":[{"Name":"admin","Port":1,"Default":false},{"Name":"http","Port":8080,"Default":true}]"#;
    assert_eq!(of(two).unwrap(), "10.0.0.1:8080");
    let tagged = r#""TaggedAddresses":{"lan":{"Address":"10.9.9.9","Port":0}}"#;
    assert_eq!(of(&format!("{two},{tagged}")).unwrap(), "10.9.9.9:8080");
    assert_eq!(of(&format!(r#"{two},"Port":9"#)).unwrap(), "10.0.0.1:8080");
    for none in [r#""Ports":null"#, r#""Ports":[]"#] {
        assert_eq!(of(&format!(r#"{none},"Port":9"#)).unwrap(), "10.0.0.1:9");
        assert!(
            of(none).unwrap_err().contains("Consul 1.22"),
            "older agents drop them"
        );
    }
    for wrong in [
        r#""Ports":[{"Name":"a","Port":7}]"#,
        r#""Ports":[{"Port":0,"Default":true}]"#,
    ] {
        assert!(of(wrong).unwrap_err().contains("is the default"), "{wrong}");
    }
    assert!(
        of(r#""Ports":[{"Port":70000,"Default":true}]"#)
            .unwrap_err()
            .contains("1 to 65535")
    );
}

#[test]
fn zone_and_region_follow_their_precedence() {
    let place = |service: &str, node: &str| {
        let entry = entry(service, "[]").replacen(
            r#""Datacenter":"dc1""#,
            &format!(r#""Datacenter":"dc1"{node}"#),
            1,
        );
        let record = health(format!("[{entry}]").as_bytes()).unwrap().record.unwrap();
        let instance = &record.instances[0];
        format!("{}/{}", instance.region, instance.zone)
    };
    let here = r#","Locality":{"Region":"eu","Zone":"eu-1"}"#;
    assert_eq!(place("", ""), "/dc1");
    assert_eq!(place("", r#","Locality":null"#), "/dc1");
    assert_eq!(place("", here), "eu/eu-1");
}

#[test]
fn keys_that_are_spelt_nearly_as_ours_are_named_and_keep_their_last_good_value() {
    let of = |service: &str| {
        let body = format!(
            r#"[{{"Node":{{"Node":"n1","Address":"10.0.0.1"}},"Service":{{"ID":"orders-1","Service":"orders","Port":80,{service}}}}}]"#
        );
        health(body.as_bytes()).unwrap().record.unwrap()
    };
    for (service, key, meant) in [
        (r#""Meta":{"xds_expose":"edge"}"#, "xds_expose", "`xds-expose`"),
        (r#""Meta":{"XDS-Weight":"9"}"#, "XDS-Weight", "`xds-weight`"),
        (
            r#""Meta":{"xds_route_2":"path=/x"}"#,
            "xds_route_2",
            "`xds-route-2`",
        ),
        (
            r#""Tags":["xds-expose=edge"]"#,
            "tag `xds-expose`",
            "`xds.expose=VALUE`",
        ),
        (
            r#""Tags":["xds-version=1"]"#,
            "tag `xds-version`",
            "`xds.version=VALUE`",
        ),
        (
            r#""Tags":["XDS.route=path=/x"]"#,
            "tag `XDS.route`",
            "`xds.route=VALUE`",
        ),
    ] {
        let record = of(service);
        let [issue] = &record.issues[..] else {
            panic!("{service}: {:?}", record.issues)
        };
        assert_eq!(issue.entry, "orders-1@n1");
        let words = [key, meant];
        assert!(
            words.iter().all(|word| issue.reason.contains(word)),
            "{}",
            issue.reason
        );
        let one = &record.instances[0];
        let slips = one.policy.slips.len() + one.own.as_ref().map_or(0, |own| own.declared.slips.len());
        assert_eq!(slips, 1, "{service}");
    }
    for service in [
        r#""Meta":{"version":"1","rds-version":"2","owner":"xds"},"Tags":["xds","prod","version=1","ads=1"]"#,
        r#""Meta":{"xds-expose":"internal"},"Tags":["xds.weight=3"]"#,
    ] {
        assert_eq!(of(service).issues, [], "{service}");
    }
}
