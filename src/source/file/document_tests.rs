//! Tests of [`super::read`]: texts in, documents and issues out.

use super::*;
use crate::model::Protocol;

fn toml(text: &str) -> Result<Document, String> {
    read("shop.toml", Syntax::Toml, text.as_bytes())
}

fn json(text: &str) -> Result<Document, String> {
    read("shop.json", Syntax::Json, text.as_bytes())
}

#[test]
fn toml_and_json_say_the_same() {
    let a = toml(
        r#"
        [services.orders]
        protocol = "grpc"
        route = "grpc=shop.Orders"
        [[services.orders.instances]]
        address = "127.0.0.1"
        port = 9001
        weight = 10
        [[services.orders.instances]]
        id = "orders-2"
        address = "127.0.0.1"
        port = "9002"
        "#,
    )
    .unwrap();
    let b = json(
        r#"{"services":{"orders":{"protocol":"grpc","route":"grpc=shop.Orders","instances":[
            {"address":"127.0.0.1","port":9001,"weight":"10"},
            {"id":"orders-2","address":"127.0.0.1","port":9002}]}}}"#,
    )
    .unwrap();
    assert_eq!(a, b);
    let orders = &a.services["orders"];
    let ids: Vec<_> = orders.instances.iter().map(|i| &*i.id).collect();
    assert_eq!(ids, ["127.0.0.1:9001", "orders-2"]);
    assert_eq!(orders.policy.as_ref().unwrap().protocol, Some(Protocol::Grpc));
    assert_eq!((orders.issues.len(), a.stray.len()), (0, 0), "{a:?}");
}

#[test]
fn bad_syntax_tells_the_line() {
    for (broken, line) in [
        (toml("[services.orders]\nprotocol = \n"), "line 2:"),
        (toml("a = 1\na = 2\n"), "line 2:"),
        (toml("services = 5\n"), "line 1:"),
        (json("{\n  \"services\": {\n"), "line 3:"),
        (json("{}\n{}"), "line 2:"),
        (json("[]"), "line 1:"),
        (json(""), "is empty"),
        (read("x", Syntax::Toml, b"a = 1\n\xff"), "line 2:"),
        (json(&"[".repeat(100_000)), "line 1:"),
        (toml(&format!("a = {}", "[".repeat(100_000))), "line 1:"),
    ] {
        let reason = broken.unwrap_err();
        assert!(reason.starts_with(line) && reason.len() < 300, "{reason}");
        assert!(!reason.contains('\n'), "{reason}");
    }
}

#[test]
fn an_address_stands_once_in_a_service() {
    let document = json(
        r#"{"services":{"orders":{"instances":[
                {"id":"a","address":"127.0.0.1","port":1}, {"id":"b","address":"::ffff:127.0.0.1","port":1},
                {"id":"c","address":"127.0.0.1","port":2}]},
            "users":{"instances":[{"id":"a","address":"127.0.0.1","port":1}]}}}"#,
    )
    .unwrap();
    let orders = &document.services["orders"];
    assert_eq!(
        orders.instances.iter().map(|i| &*i.id).collect::<Vec<_>>(),
        ["a", "c"]
    );
    assert_eq!(orders.issues.len(), 1, "{:?}", orders.issues);
    assert_eq!(orders.issues[0].entry, "shop.json: services.orders.instances[1]");
    assert_eq!(orders.issues[0].reason, "127.0.0.1:1 is that of the instance `a`");
    assert_eq!(
        document.services["users"].issues,
        [],
        "another service may be the same server"
    );
}

#[test]
fn what_is_wrong_costs_itself_only() {
    let document = json(
        r#"{"version":1,"services":{
            "*":{}, "flat":7,
            "listed":{"instances":{"address":"127.0.0.1","port":1}},
            "orders":{"colour":"red","instances":[
                {"address":"127.0.0.1","port":1}, 5, {"port":1}, {"address":"127.0.0.1","port":1},
                {"id":[],"address":"127.0.0.1","port":2}, {"address":"127.0.0.1","port":3,"state":"off"}]}}}"#,
    )
    .unwrap();
    let stray: Vec<_> = document.stray.iter().map(|i| i.entry.as_str()).collect();
    assert_eq!(stray, ["shop.json", "shop.json: services.*"]);
    assert_eq!(
        document.services["flat"].issues[0].reason,
        "is a number, must be a table"
    );
    assert!(
        document.services["listed"].issues[0]
            .reason
            .contains("a list of tables")
    );
    let orders = &document.services["orders"];
    assert_eq!(orders.instances.len(), 2);
    let issues: Vec<_> = orders.issues.iter().map(|i| i.entry.as_str()).collect();
    let place = |n: usize| format!("shop.json: services.orders.instances[{n}]");
    assert_eq!(
        issues,
        [
            "shop.json: services.orders",
            &place(1),
            &place(2),
            &place(3),
            &place(4)
        ]
    );
}
