//! Who stays for a while, and who does not.

use super::*;

const LINGER: Duration = Duration::from_secs(10);

fn at(port: u16) -> SocketAddr {
    ([10, 0, 0, 1], port).into()
}

fn instance(id: &str, port: u16) -> Instance {
    Instance::new(id, at(port))
}

fn service(instances: Vec<Instance>) -> Service {
    Service {
        name: "orders".into(),
        instances,
        ..Service::default()
    }
}

fn touched(left: Vec<Instance>) -> Touched {
    let left = left.into_iter().map(|instance| Left {
        service: "orders".into(),
        instance,
    });
    Touched {
        left: left.collect(),
        ..Touched::default()
    }
}

fn lingering(left: Vec<Instance>) -> Lingering {
    let mut all = Lingering::default();
    all.set_time(LINGER);
    all.take(&mut touched(left), 0, Duration::ZERO);
    all
}

fn joined(all: &Lingering, instances: Vec<Instance>) -> Vec<(u16, Health)> {
    let mut service = service(instances);
    all.join(&mut service);
    let of = |instance: &Instance| (instance.address.port(), instance.health);
    service.instances.iter().map(of).collect()
}

#[test]
fn who_left_is_found_by_id_and_address() {
    let old = [
        instance("a", 1),
        instance("b", 2),
        instance("c", 3),
        instance("d", 4),
    ];
    let ids = |new: &[Instance]| -> Vec<String> {
        left(&old, new)
            .iter()
            .map(|instance| instance.id.to_string())
            .collect()
    };
    assert_eq!(ids(&old), [""; 0]);
    assert_eq!(
        ids(&[instance("b", 2), instance("c2", 9), instance("d", 4)]),
        ["a", "c"]
    );
    assert_eq!(ids(&[]), ["a", "b", "c", "d"]);
    let moved = [
        instance("a", 1),
        instance("b", 7),
        instance("c", 3),
        instance("d", 4),
    ];
    assert_eq!(ids(&moved), ["b"], "it left its old address");
}

#[test]
fn it_stays_as_draining_while_another_one_serves() {
    let all = lingering(vec![instance("a", 1)]);
    assert_eq!(
        joined(&all, vec![instance("b", 2)]),
        [(1, Health::Draining), (2, Health::Healthy)]
    );
    assert_eq!(joined(&all, vec![]), [], "the last one is not kept alive");
    let mut ill = instance("b", 2);
    ill.health = Health::Unhealthy;
    assert_eq!(joined(&all, vec![ill]), [(2, Health::Unhealthy)]);
}

#[test]
fn one_that_registers_again_is_what_it_says_then() {
    let all = lingering(vec![instance("a", 1)]);
    let back = vec![instance("a", 1), instance("b", 2)];
    assert_eq!(joined(&all, back), [(1, Health::Healthy), (2, Health::Healthy)]);
}

#[test]
fn it_goes_when_its_time_is_over() {
    let mut all = lingering(vec![instance("a", 1)]);
    assert_eq!(all.due(), Some(LINGER));
    assert!(all.release(Duration::from_secs(9)).is_empty());
    assert_eq!(all.release(LINGER), ["orders".into()]);
    assert_eq!(all.due(), None);
    assert_eq!(joined(&all, vec![instance("b", 2)]), [(2, Health::Healthy)]);
}

#[test]
fn only_those_that_had_requests_linger() {
    let mut ill = instance("a", 1);
    ill.health = Health::Unhealthy;
    let mut off = instance("c", 3);
    off.health = Health::Off;
    let all = lingering(vec![ill, off]);
    assert_eq!(all.due(), None);
}

#[test]
fn without_a_time_nobody_lingers() {
    let mut all = Lingering::default();
    all.take(&mut touched(vec![instance("a", 1)]), 0, Duration::ZERO);
    assert_eq!(all.due(), None);
}

#[test]
fn one_of_a_source_behind_stays_behind() {
    let mut all = Lingering::default();
    all.set_time(LINGER);
    all.take(&mut touched(vec![instance("a", 1)]), 2, Duration::ZERO);
    let mut service = service(vec![instance("b", 2)]);
    all.join(&mut service);
    assert_eq!(service.rank(&service.instances[0]), (false, 2));
}
