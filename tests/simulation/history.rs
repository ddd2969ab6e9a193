//! What happens in one run, as data: who is there, and what each of them does and when. Made from a seed, and made
//! smaller by `shrink`; what follows from it is drawn in the same order each time.

use std::fmt;
use std::time::Duration;

use crate::dice::Dice;

pub(crate) const SERVICES: [&str; 5] = ["cart", "orders", "pay", "stock", "users"];

/// What may be claimed; several services may claim the same.
pub(crate) const ROUTES: [&str; 7] = [
    "path=/cart/",
    "path=/cart/deep/",
    "host=shop.example path=/",
    "host=shop.example path=/pay/",
    "host=shop.example path=/ header=x-canary:1",
    "grpc=shop.Users",
    "path=/stock/ timeout=3s",
];

/// Whose manners a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    EnvoyDelta,
    EnvoySotw,
    GrpcSotw,
}

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Of delays and of everything that nobody decides.
    pub(crate) dice: u64,
    pub(crate) bridges: u8,
    pub(crate) clients: Vec<Manner>,
}

/// What an instance declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declaration {
    /// Where it listens; several may say the same.
    pub(crate) place: (u8, u8),
    pub(crate) version: u8,
    /// 0: `up`, 1: `drain`, 2: `off`
    pub(crate) state: u8,
    pub(crate) weight: u8,
    /// Numbers of [`ROUTES`].
    pub(crate) routes: Vec<u8>,
    /// In percent.
    pub(crate) share: Option<u8>,
    pub(crate) timeout: Option<u8>,
    pub(crate) edge: bool,
    /// Only such services are for gRPC's own clients.
    pub(crate) grpc: bool,
    /// What is wrong with it: no JSON, port 0, a host name, an unknown key, or a timeout, route or weight that is none.
    pub(crate) slip: Option<u8>,
}

/// What somebody does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// An instance registers, or says something else.
    Declare {
        service: u8,
        instance: u8,
        how: Declaration,
    },
    Leave {
        service: u8,
        instance: u8,
    },
    /// All of a service, in one transaction.
    LeaveAll {
        service: u8,
    },
    /// Its key is gone, it still runs: its lease ran out.
    Expire {
        service: u8,
        instance: u8,
    },
    Policy {
        service: u8,
        how: Declaration,
    },
    PolicyEnds {
        service: u8,
    },
    /// The registry is emptied; the servers still run.
    Wipe,
    /// Whoever runs registers again.
    Refill,
    /// A backup takes the registry's place, so many changes old.
    Restore {
        back: u8,
    },
    Compact,
    /// A bridge does not reach its registry.
    Away {
        bridge: u8,
        ms: u32,
    },
    /// Nothing of the registry reaches a bridge, which does not notice at once.
    Mute {
        bridge: u8,
        ms: u32,
    },
    /// A watch repeats what it said before.
    SetBack {
        bridge: u8,
        events: u8,
    },
    /// The disk of a bridge is full.
    FullDisk {
        bridge: u8,
        ms: u32,
    },
    /// A bridge dies and begins again, with what is on its disk or without.
    Restart {
        bridge: u8,
        cache: bool,
    },
    /// A connection breaks; the bridge may notice it late.
    Cut {
        client: u8,
        noticed_after: u32,
    },
    /// A client does nothing.
    Freeze {
        client: u8,
        ms: u32,
    },
    Slow {
        client: u8,
        ms: u32,
    },
    /// A client goes to another bridge.
    Move {
        client: u8,
        bridge: u8,
    },
    /// A client refuses something of the next response.
    Refuse {
        client: u8,
    },
    /// A gRPC client connects to another service, or no longer.
    Dial {
        client: u8,
        service: u8,
    },
    HangUp {
        client: u8,
        service: u8,
    },
    /// An operator, on all bridges.
    Drain {
        service: u8,
        instance: u8,
    },
    Undrain,
    /// An operator believes what is withheld.
    Accept {
        bridge: u8,
    },
    /// Time passes for everybody at once.
    Jump {
        seconds: u16,
    },
    /// Everything is repaired; then all must be as a first reading gives it.
    Quiet,
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Milliseconds after the one before.
    pub(crate) after: u32,
    pub(crate) what: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
}

/// Kinds of actions, with how often they come.
#[derive(Clone, Copy)]
enum Sort {
    Declare,
    Leave,
    LeaveAll,
    Expire,
    Policy,
    PolicyEnds,
    Wipe,
    Refill,
    Restore,
    Compact,
    Away,
    Mute,
    SetBack,
    FullDisk,
    Restart,
    Cut,
    Freeze,
    Slow,
    Move,
    Refuse,
    Dial,
    HangUp,
    Drain,
    Undrain,
    Accept,
    Jump,
    Quiet,
}

const WEIGHTS: [(u32, Sort); 27] = [
    (420, Sort::Declare),
    (120, Sort::Leave),
    (15, Sort::LeaveAll),
    (25, Sort::Expire),
    (25, Sort::Policy),
    (12, Sort::PolicyEnds),
    (3, Sort::Wipe),
    (15, Sort::Refill),
    (4, Sort::Restore),
    (12, Sort::Compact),
    (14, Sort::Away),
    (8, Sort::Mute),
    (12, Sort::SetBack),
    (4, Sort::FullDisk),
    (8, Sort::Restart),
    (30, Sort::Cut),
    (14, Sort::Freeze),
    (14, Sort::Slow),
    (10, Sort::Move),
    (20, Sort::Refuse),
    (20, Sort::Dial),
    (10, Sort::HangUp),
    (16, Sort::Drain),
    (10, Sort::Undrain),
    (4, Sort::Accept),
    (12, Sort::Jump),
    (4, Sort::Quiet),
];

/// Whether a service is one of gRPC.
pub(crate) const fn is_grpc(service: u8) -> bool {
    service % 3 == 1
}

impl Declaration {
    fn drawn(dice: &mut Dice, service: u8, instance: u8) -> Self {
        let routes = (0..dice.weighed(&[(40, 0_u8), (40, 1), (20, 2)]))
            .map(|_| dice.small(7))
            .collect();
        Self {
            // Now and then somebody takes the place of another.
            place: if dice.is(8) {
                (dice.small(5), dice.small(4))
            } else {
                (service, instance)
            },
            version: dice.weighed(&[(60, 0), (25, 1), (15, 2)]),
            state: dice.weighed(&[(80, 0), (14, 1), (6, 2)]),
            weight: dice.weighed(&[(70, 1), (20, 10), (10, 0)]),
            routes,
            share: dice.is(10).then(|| dice.weighed(&[(1, 5), (1, 10), (1, 50)])),
            timeout: dice.is(20).then(|| 1 + dice.small(4)),
            edge: dice.is(25),
            grpc: is_grpc(service) != dice.is(3),
            slip: dice.is(10).then(|| dice.small(7)),
        }
    }
}

impl History {
    /// What a seed stands for.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let clients = (0..2 + dice.small(4))
            .map(|_| {
                dice.weighed(&[
                    (50, Manner::EnvoyDelta),
                    (25, Manner::EnvoySotw),
                    (25, Manner::GrpcSotw),
                ])
            })
            .collect();
        let setup = Setup {
            dice: dice.draw(),
            bridges: dice.weighed(&[(50, 1), (35, 2), (15, 3)]),
            clients,
        };
        let count = 40 + dice.below(160);
        let mut steps: Vec<Step> = (0..count)
            .map(|_| Step {
                after: match dice.below(20) {
                    0..=8 => 0,
                    9..=14 => u32::try_from(dice.below(30)).unwrap_or(0),
                    15..=18 => u32::try_from(dice.below(1_000)).unwrap_or(0),
                    _ => u32::try_from(dice.below(15_000)).unwrap_or(0),
                },
                what: Action::drawn(&mut dice, &setup),
            })
            .collect();
        steps.push(Step {
            after: 0,
            what: Action::Quiet,
        });
        Self { setup, steps }
    }
}

impl Action {
    fn drawn(dice: &mut Dice, setup: &Setup) -> Self {
        let (service, instance) = (dice.small(5), dice.small(4));
        let bridge = dice.small(setup.bridges.max(1));
        let count = u8::try_from(setup.clients.len().max(1)).unwrap_or(1);
        let client = dice.small(count);
        let ms = u32::try_from(dice.below(40_000)).unwrap_or(0);
        match dice.weighed(&WEIGHTS) {
            Sort::Declare => Self::Declare {
                service,
                instance,
                how: Declaration::drawn(dice, service, instance),
            },
            Sort::Leave => Self::Leave { service, instance },
            Sort::LeaveAll => Self::LeaveAll { service },
            Sort::Expire => Self::Expire { service, instance },
            Sort::Policy => Self::Policy {
                service,
                how: Declaration::drawn(dice, service, instance),
            },
            Sort::PolicyEnds => Self::PolicyEnds { service },
            Sort::Wipe => Self::Wipe,
            Sort::Refill => Self::Refill,
            Sort::Restore => Self::Restore {
                back: 1 + dice.small(30),
            },
            Sort::Compact => Self::Compact,
            Sort::Away => Self::Away { bridge, ms },
            Sort::Mute => Self::Mute { bridge, ms },
            Sort::SetBack => Self::SetBack {
                bridge,
                events: 1 + dice.small(20),
            },
            Sort::FullDisk => Self::FullDisk { bridge, ms },
            Sort::Restart => Self::Restart {
                bridge,
                cache: dice.is(70),
            },
            Sort::Cut => Self::Cut {
                client,
                noticed_after: if dice.is(50) { 0 } else { ms / 4 },
            },
            Sort::Freeze => Self::Freeze { client, ms },
            Sort::Slow => Self::Slow { client, ms },
            Sort::Move => Self::Move { client, bridge },
            Sort::Refuse => Self::Refuse { client },
            Sort::Dial => Self::Dial { client, service },
            Sort::HangUp => Self::HangUp { client, service },
            Sort::Drain => Self::Drain { service, instance },
            Sort::Undrain => Self::Undrain,
            Sort::Accept => Self::Accept { bridge },
            Sort::Jump => Self::Jump {
                seconds: dice.weighed(&[(50, 12), (30, 70), (15, 700), (5, 4_000)]),
            },
            Sort::Quiet => Self::Quiet,
        }
    }
}

impl Action {
    /// The client that it is about.
    pub(crate) const fn client(&self) -> Option<u8> {
        match self {
            Self::Cut { client, .. }
            | Self::Freeze { client, .. }
            | Self::Slow { client, .. }
            | Self::Move { client, .. }
            | Self::Refuse { client }
            | Self::Dial { client, .. }
            | Self::HangUp { client, .. } => Some(*client),
            _ => None,
        }
    }
}

fn name(service: u8) -> &'static str {
    SERVICES[usize::from(service) % SERVICES.len()]
}

/// In words.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declare {
                service,
                instance,
                how,
            } => {
                write!(f, "{}-{instance} declares {how}", name(*service))
            }
            Self::Leave { service, instance } => write!(f, "{}-{instance} leaves", name(*service)),
            Self::LeaveAll { service } => write!(f, "all of {} leave at once", name(*service)),
            Self::Expire { service, instance } => {
                write!(
                    f,
                    "the lease of {}-{instance} runs out, it still runs",
                    name(*service)
                )
            }
            Self::Policy { service, how } => write!(f, "the policy of {} is {how}", name(*service)),
            Self::PolicyEnds { service } => write!(f, "the policy of {} is deleted", name(*service)),
            Self::Wipe => f.write_str("the registry is emptied"),
            Self::Refill => f.write_str("whoever runs registers again"),
            Self::Restore { back } => write!(f, "the registry is restored, {back} changes old"),
            Self::Compact => f.write_str("the registry is compacted"),
            Self::Away { bridge, ms } => write!(f, "bridge {bridge} does not reach the registry for {ms} ms"),
            Self::Mute { bridge, ms } => write!(f, "the watch of bridge {bridge} is silent for {ms} ms"),
            Self::SetBack { bridge, events } => {
                write!(f, "the watch of bridge {bridge} repeats its last {events} events")
            }
            Self::FullDisk { bridge, ms } => write!(f, "the disk of bridge {bridge} is full for {ms} ms"),
            Self::Restart { bridge, cache: true } => {
                write!(f, "bridge {bridge} dies and begins again with its cache")
            }
            Self::Restart { bridge, cache: false } => {
                write!(f, "bridge {bridge} dies and begins again without a cache")
            }
            Self::Cut {
                client,
                noticed_after,
            } => {
                write!(
                    f,
                    "client {client} is cut off; its bridge notices that after {noticed_after} ms"
                )
            }
            Self::Freeze { client, ms } => write!(f, "client {client} does nothing for {ms} ms"),
            Self::Slow { client, ms } => write!(f, "client {client} is slow for {ms} ms"),
            Self::Move { client, bridge } => write!(f, "client {client} goes to bridge {bridge}"),
            Self::Refuse { client } => write!(f, "client {client} refuses something of its next response"),
            Self::Dial { client, service } => write!(f, "client {client} dials {}", name(*service)),
            Self::HangUp { client, service } => {
                write!(f, "client {client} dials {} no longer", name(*service))
            }
            Self::Drain { service, instance } => {
                write!(f, "the operator drains {}-{instance}", name(*service))
            }
            Self::Undrain => f.write_str("the operator ends all drains"),
            Self::Accept { bridge } => {
                write!(f, "the operator has bridge {bridge} believe what it withholds")
            }
            Self::Jump { seconds } => write!(f, "{seconds} s pass"),
            Self::Quiet => f.write_str("everything is repaired and falls quiet"),
        }
    }
}

impl fmt::Display for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value())
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup {
            dice,
            bridges,
            clients,
        } = &self.setup;
        writeln!(f, "{bridges} bridges, clients {clients:?}, dice {dice:#x}")?;
        let mut at = Duration::ZERO;
        for Step { after, what } in &self.steps {
            at += Duration::from_millis(u64::from(*after));
            writeln!(f, "  +{:>9.3} s  {what}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
