//! Why a service is served as it is: where each fact comes from, what is wrong with it, and who has it.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::clients::{Clients, Requests};
use super::holders::Holders;
use super::instances::{Around, LISTED, Row, facts, row};
use super::{Answer, Unanswered};
use crate::admin::{Admin, STOPPING};
use crate::clock;
use crate::hub::{Delivered, Explanation, Order};
use crate::model::{Condition, Expose};
use crate::plan::Claim;
use crate::text::{clip, list};

/// Maximum of instances that are listed; those that take no requests come first.
const INSTANCES: usize = 200;

pub(super) async fn why(admin: &Admin, name: &str, instance: Option<&str>) -> Result<Answer, Unanswered> {
    let explanation = explain(admin, name).await?;
    let Some(explanation) = explanation else {
        return Err(Unanswered::Unknown(unknown(admin, name)));
    };
    let subject = Subject::of(admin, name, instance, &explanation);
    if let Some(id) = instance
        && subject.instances.is_empty()
    {
        let others = explanation.merged.iter().flat_map(|service| &service.instances);
        let others: Vec<&str> = others.map(|i| &*i.id).collect();
        return Err(Unanswered::Unknown(format!(
            "`{name}` has no instance `{}` in any registry; it has {}\n",
            clip(id),
            list(&others, 10, others.len())
        )));
    }
    Ok(Answer {
        words: subject.words(),
        json: subject.json(),
    })
}

/// What the hub knows of a service.
pub(super) async fn explain(admin: &Admin, name: &str) -> Result<Option<Box<Explanation>>, Unanswered> {
    let (reply, answer) = oneshot::channel();
    let order = Order::Explain {
        service: name.to_owned(),
        reply,
    };
    let sent = admin.orders.send(order).await;
    match answer.await {
        Ok(explanation) if sent.is_ok() => Ok(explanation),
        _ => Err(Unanswered::NotNow(STOPPING)),
    }
}

fn unknown(admin: &Admin, name: &str) -> String {
    let overview = admin.overview.borrow();
    let mut text = format!("no source knows a service `{}`:\n", clip(name));
    for source in &overview.sources {
        let state = match source.condition {
            Condition::Away => format!("away ({})", source.reason.as_deref().unwrap_or_default()),
            other => other.as_str().to_owned(),
        };
        let wrong = match source.entries.0 {
            0 => String::new(),
            n => format!("; {n} entries of it are not served, see /sources"),
        };
        let services = source.services;
        // Writing into a String does not fail.
        let _ = writeln!(
            text,
            "  {} ({}): {state}, {services} services{wrong}",
            source.name, source.kind
        );
    }
    text
}

/// A service, or one of its instances.
struct Subject<'a> {
    name: &'a str,
    alone: Option<&'a str>,
    explanation: &'a Explanation,
    instances: Vec<Row<'a>>,
    clients: Clients,
    holders: Holders,
    requests: Requests,
    now: Instant,
}

impl<'a> Subject<'a> {
    fn of(admin: &Admin, name: &'a str, alone: Option<&'a str>, explanation: &'a Explanation) -> Self {
        let drains = admin.state.drains();
        let planned = explanation.planned.as_ref();
        let all = explanation.merged.iter().flat_map(|service| {
            let around = Around::of(service, planned, &explanation.sources, &drains);
            let rows = service.instances.iter();
            rows.map(move |instance| row(&around, instance))
        });
        let mut instances: Vec<Row<'a>> = all.collect();
        if let Some(id) = alone {
            let ends = format!("/{id}");
            instances.retain(|row| *row.instance.id == *id || row.instance.id.ends_with(&ends));
        }
        instances.sort_by(|a, b| (a.takes, &a.instance.id).cmp(&(b.takes, &b.instance.id)));
        Self {
            name,
            alone,
            explanation,
            clients: Clients::of(admin, name, explanation),
            holders: Holders::of(admin, explanation),
            requests: Requests::of(admin, name, &instances, alone.is_some()),
            instances,
            now: clock::now(),
        }
    }

    fn claims(&self) -> &'a [Claim] {
        let planned = self.explanation.planned.as_ref();
        planned.map_or(&[][..], |planned| &planned.claims)
    }

    fn warnings(&self) -> Vec<String> {
        let planned = self
            .explanation
            .planned
            .iter()
            .flat_map(|planned| &planned.issues);
        let delivered = self.explanation.sources.iter().flat_map(|of| &of.record.issues);
        let all = delivered.chain(planned).chain(&self.explanation.oversized);
        let mut all: Vec<String> = all
            .map(|issue| match &*issue.entry {
                entry if entry == self.name => issue.reason.clone(),
                entry => format!("{entry}: {}", issue.reason),
            })
            .collect();
        all.dedup();
        all
    }

    fn headline(&self) -> String {
        let takes = self.instances.iter().filter(|row| row.takes).count();
        let all = self.instances.len();
        match (self.alone, self.explanation.kept_until) {
            (Some(id), _) => match &self.instances[..] {
                [row] if row.takes => format!("{}/{id} gets requests", self.name),
                [row] => format!("{}/{id} gets no new requests: {}", self.name, row.why),
                rows => format!("{}/{id}: {} instances have that id", self.name, rows.len()),
            },
            (None, Some(ends)) => format!(
                "{} has no instances: requests end with 503; its routes are kept for {} min more",
                self.name,
                ends.saturating_duration_since(self.now).as_secs().div_ceil(60)
            ),
            (None, None) if all == 0 => format!("{} has no instances", self.name),
            (None, None) if takes == 0 => {
                format!("{}: none of its {all} instances gets requests", self.name)
            }
            (None, None) => format!("{}: {takes} of {all} instances get requests", self.name),
        }
    }

    // Writing into a String does not fail.
    fn words(&self) -> String {
        let mut text = format!("{}\n", self.headline());
        for of in &self.explanation.sources {
            let _ = writeln!(text, "  {}", source(of));
        }
        for row in self.instances.iter().take(INSTANCES) {
            let sign = if row.takes { '✓' } else { '!' };
            let facts = facts(row);
            let _ = writeln!(text, "  {sign} {facts}: {}", row.why);
        }
        if self.instances.len() > INSTANCES {
            let _ = writeln!(text, "    and {} more", self.instances.len() - INSTANCES);
        }
        if self.alone.is_none() {
            let claims = self.claims();
            if claims.is_empty() {
                let _ = writeln!(text, "  it has no routes: {}", self.no_routes());
            }
            for claim in claims.iter().take(LISTED) {
                let _ = writeln!(text, "  asks for {}", asked(claim));
            }
        }
        for warning in self.warnings().iter().take(LISTED) {
            let _ = writeln!(text, "  ! {warning}");
        }
        text += &self.clients.words();
        text += &self.holders.words();
        text += &self.requests.words();
        text
    }

    fn no_routes(&self) -> &'static str {
        let policy = self.explanation.merged.as_ref().map(|service| &service.policy);
        match policy.and_then(|policy| policy.expose.as_ref()) {
            Some(Expose::Nothing) => "it declares expose=none",
            _ if self.explanation.planned.is_none() => "nothing of it is served yet",
            _ => "see the warnings below, or /sources",
        }
    }

    fn json(&self) -> Value {
        let instance = |row: &Row<'_>| {
            json!({
                "id": &*row.instance.id,
                "address": row.instance.address,
                "health": row.instance.health.as_str(),
                "gets_requests": row.takes,
                "weight": row.instance.weight,
                "version": &*row.instance.version,
                "zone": &*row.instance.zone,
                "node": &*row.instance.node,
                "sources": row.sources,
                "why": row.why,
            })
        };
        let claim = |claim: &Claim| {
            json!({
                "exposure": &*claim.exposure,
                "host": claim.host,
                "requests": asked(claim),
                "by_policy_document": claim.documented,
            })
        };
        json!({
            "service": self.name,
            "summary": self.headline(),
            "sources": self.explanation.sources.iter().map(source).collect::<Vec<_>>(),
            "instances": self.instances.iter().take(INSTANCES).map(instance).collect::<Vec<_>>(),
            "instances_in_all": self.instances.len(),
            "routes": self.claims().iter().take(LISTED).map(claim).collect::<Vec<_>>(),
            "warnings": self.warnings(),
            "clients": self.clients.json(),
            "clients_without_it": self.holders.json(),
            "requests": self.requests.json(),
        })
    }
}

/// Requests in the words of a declaration.
fn asked(claim: &Claim) -> String {
    format!(
        "{} of host {} on exposure {}",
        claim.requests(),
        claim.host,
        claim.exposure
    )
}

fn source(of: &Delivered) -> String {
    let mut text = format!(
        "from {} ({}): {} instances",
        of.source,
        of.condition.as_str(),
        of.record.instances.len()
    );
    if of.priority > 0 {
        let _ = write!(text, ", priority {}", of.priority);
    }
    if of.record.policy.is_some() {
        text += ", a policy document";
    }
    if of.withheld > 0 {
        let _ = write!(
            text,
            "; its registry no longer lists {} of them, which is not believed yet (xds-bridge accept {})",
            of.withheld, of.source
        );
    }
    text
}
