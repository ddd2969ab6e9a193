//! Commands of fabio, and the services that are made of them.

use super::*;

/// The services, each with its instances and routes, and what is reported.
fn read(text: &str) -> (String, String) {
    let settings = FabioImport {
        expose: vec!["edge".to_owned()],
        ..FabioImport::default()
    };
    let (services, mut issues, commands) = super::read(&settings, "fabio/config", [("", text)].into_iter());
    let mut shown = Vec::new();
    for (name, record) in services {
        let routes = record.policy.iter().flat_map(|policy| policy.routes.values());
        let routes: Vec<String> = routes.map(ToString::to_string).collect();
        let instances = record.instances.iter();
        let instances: Vec<String> = instances.map(|i| format!("{}*{}", i.address, i.weight)).collect();
        shown.push(format!("{name}[{}] {}", instances.join(" "), routes.join(" ; ")));
        issues.extend(record.issues);
    }
    issues.extend(commands.idle([]));
    let said: Vec<String> = issues
        .iter()
        .map(|i| format!("{}: {}", i.entry, i.reason))
        .collect();
    (shown.join("\n"), said.join("\n"))
}

fn holds(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word} is not in {text}");
    }
}

#[test]
fn routes_of_the_same_servers_are_one_service() {
    let (services, said) = read(
        "route add web a.x/ http://10.0.0.7:1/\nroute add web a.x/ http://10.0.0.7:2/ weight 0.25 tags \"v2\"\n\
         route add web b.x/ http://10.0.0.7:1/\nroute add web b.x/ http://10.0.0.7:2/ weight 0.25\n\
         route add web c.x/admin http://10.0.0.8:1/ opts \"strip=/admin\"",
    );
    assert_eq!(said, "");
    let lines: Vec<&str> = services.lines().collect();
    assert_eq!(lines.len(), 2, "{services}");
    holds(
        lines[0],
        &[
            "web.fabio[10.0.0.7:1*7500 10.0.0.7:2*2500]",
            "host=a.x",
            "host=b.x",
            "expose=edge",
        ],
    );
    holds(
        lines[1],
        &[
            "web.fabio-",
            "[10.0.0.8:1*1]",
            "host=c.x",
            "path=/admin*",
            "regex-rewrite",
        ],
    );
}

#[test]
fn commands_are_done_in_their_order() {
    let weight = "route weight web a.x/ weight 0.1 tags \"v2\"\n";
    let add = "route add web a.x/ http://10.0.0.7:1/\nroute add web a.x/ http://10.0.0.7:2/ tags \"v2\"\n";
    let (services, said) = read(&format!("{add}{weight}"));
    holds(&services, &["[10.0.0.7:1*9000 10.0.0.7:2*1000]"]);
    assert_eq!(said, "");
    let (services, said) = read(&format!("{weight}{add}"));
    holds(&services, &["[10.0.0.7:1*1 10.0.0.7:2*1]"]);
    assert_eq!(said, "fabio/config: line `1`: no route fits it");
    for del in [
        "route del web",
        "route del web a.x/",
        "route del tags \"v2\"\nroute del web a.x/ http://10.0.0.7:1",
    ] {
        assert_eq!(read(&format!("{add}{del}")).0, "", "{del}");
    }
    holds(
        &read(&format!("{add}route del web tags \"v2\"")).0,
        &["[10.0.0.7:1*1]"],
    );
}

#[test]
fn what_protects_or_leads_nowhere_is_answered_here() {
    let (services, said) = read(
        "route add web a.x/ http://10.0.0.7:1/\nroute add web a.x/admin http://10.0.0.7:1/ opts \"auth=x\"\n\
         route add web a.x/name http://backend.example:1/\nroute add web a.x/quoted http://10.0.0.7:1/ opts \"auth=x\n\
         route add web a.x/old https://www.x$path opts \"redirect=301\"",
    );
    holds(
        &services,
        &[
            "[10.0.0.7:1*1]",
            "web.fabio[",
            "path=/admin* expose",
            "respond=401",
            "path=/name*",
            "respond=503",
            "path=/quoted*",
            "redirect=https://www.x redirect-code",
            "[127.0.0.1:9*0]",
        ],
    );
    holds(
        &said,
        &[
            "line `2`",
            "line `3`",
            "not an IP address",
            "503",
            "line `4`: a quote is not closed",
        ],
    );
}

#[test]
fn of_two_that_differ_the_one_that_protects_counts() {
    let (services, said) = read(
        "route add web a.x/ http://10.0.0.7:1/\nroute add web a.x/ http://10.0.0.7:2/ opts \"allow=ip:10.0.0.0/8\"",
    );
    holds(
        &services,
        &["allow-ips=10.0.0.0/8", "header=!x-forwarded-for", "respond=403"],
    );
    holds(&said, &["line `1`: the options of a route are those of line 2"]);
}
