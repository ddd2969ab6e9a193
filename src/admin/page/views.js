// The views of the page. Each asks the API of the admin port, and makes elements of the answer.
import { api, el, table } from "./app.js";

const PAGE = 100;
const link = (to, text) => el("a", { href: to }, text);
const service = (name) => link(`#/service/${encodeURIComponent(name)}`, name);
const age = (seconds) => {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
};
const time = (millis) => el("time", { datetime: new Date(millis).toISOString() }, new Date(millis).toLocaleTimeString());
const go = (to) => { location.hash = to; };
const card = (to, number, text, kind) => el("a.card", { href: to }, el(`b${kind ? `.${kind}` : ""}`, null, number), text);

/** A field that changes the address, and with it the view. */
function search(id, label, value, make) {
  const field = el("input", { id, type: "search", value, "aria-label": label, placeholder: label });
  let timer;
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => go(make(field.value)), 250);
  });
  return el("form", { onsubmit: (event) => { event.preventDefault(); go(make(field.value)); } }, field);
}

/** Which rows are shown of how many, and the way to the others. */
function pages(offset, last, total, to) {
  return el("div.pages", null,
    offset > 0 && link(to(Math.max(0, offset - PAGE)), "← before"),
    `${total ? offset + 1 : 0} to ${last} of ${total}`,
    last < total && link(to(last), "next →"));
}

function eventRows(events) {
  return table([
    ["time", (event) => time(event.at)],
    ["by", (event) => event.source || "bridge"],
    ["service", (event) => (event.service ? service(event.service) : "")],
    ["instance", (event) => event.instance || ""],
    ["what", (event) => event.what],
    ["generation#", (event) => event.generation ?? ""],
    ["last client after", (event) => (event.acked_at ? `${((event.acked_at - event.at) / 1000).toFixed(3)} s (${event.clients})` : "")],
  ], [...events].reverse(), "Nothing has changed.");
}

async function overview() {
  const [sources, clients, services, events, rollouts] = await Promise.all([
    api("/sources"), api("/status"), api("/services?limit=0"), api("/events"), api("/rollouts"),
  ]);
  const withheld = sources.sources.reduce((sum, source) => sum + source.withheld.instances, 0);
  const wrong = sources.sources.reduce((sum, source) => sum + source.entries.rejected + source.entries.warnings, 0);
  const conflicts = sources.declared_together.issues;
  const { behind, refused } = clients.counts;
  const running = ((rollouts && rollouts.rollouts) || []).length;
  return [
    el("h1", null, "Overview"),
    el("div.cards", null,
      card("#/services", services.total, "services"),
      card("#/clients", clients.total, "clients"),
      card("#/clients", behind, "clients behind", behind ? "warn" : "good"),
      card("#/clients", refused, "clients refuse something", refused ? "bad" : "good"),
      card("#/services", sources.all_unhealthy.services, "services without a healthy instance", sources.all_unhealthy.services ? "bad" : "good"),
      card("#/events", withheld, "instances withheld", withheld ? "warn" : "good"),
      card("#/services", conflicts, "conflicts between declarations", conflicts ? "warn" : "good"),
      card("#/services", wrong, "wrong entries", wrong ? "warn" : "good"),
      rollouts && card("#/rollouts", running, "rollouts")),
    el("h2", null, "Sources"),
    table([
      ["source", (source) => source.name],
      ["kind", (source) => source.kind],
      ["state", (source) => el(source.state === "live" ? "span.good" : "span.bad", null, source.state)],
      ["for", (source) => age(source.for_seconds)],
      ["services#", (source) => source.services],
      ["instances#", (source) => source.instances],
      ["withheld#", (source) => source.withheld.instances],
      ["wrong entries#", (source) => source.entries.rejected + source.entries.warnings],
      ["what to know", (source) => [source.reason, source.note].filter(Boolean).join("; ")],
    ], sources.sources, "No source is configured."),
    sources.all_unhealthy.services > 0 && [
      el("h2", null, "No healthy instance"),
      el("p", null, sources.all_unhealthy.names.slice(0, 20).flatMap((name) => [service(name), " "])),
    ],
    el("h2", null, "Last changes"),
    eventRows(events.events.slice(-12)),
  ].flat();
}

async function services({ query }) {
  const part = query.get("search") || "";
  const offset = Number(query.get("offset")) || 0;
  const to = (text, from) => `#/services?search=${encodeURIComponent(text)}&offset=${from}`;
  const page = await api(`/services?search=${encodeURIComponent(part)}&offset=${offset}&limit=${PAGE}`);
  const last = offset + page.services.length;
  return [
    el("h1", null, "Services"),
    search("search", "Search by name", part, (text) => to(text, 0)),
    table([
      ["service", (row) => service(row.name)],
      ["healthy#", (row) => el(row.healthy ? "span.good" : "span.bad", null, row.healthy)],
      ["others", (row) => ["unhealthy", "draining", "off"].filter((name) => row[name]).map((name) => `${row[name]} ${name}`).join(", ")],
      ["versions", (row) => Object.entries(row.versions).filter(([version]) => version).map(([version, n]) => `${version} (${n})`).join(", ")],
      ["routes#", (row) => row.routes],
      ["warnings#", (row) => (row.warnings ? el("span.warn", null, row.warnings) : 0)],
      ["from", (row) => row.sources.join(", ")],
    ], page.services, part ? "No service has that in its name." : "There are no services."),
    pages(offset, last, page.total, (from) => to(part, from)),
  ];
}

async function one({ rest: [name] }) {
  const encoded = encodeURIComponent(name);
  const [why, loads, events] = await Promise.all([
    api(`/why?service=${encoded}&json=true`), api(`/loads?service=${encoded}`), api(`/events?service=${encoded}`),
  ]);
  if (!why) return [el("h1", null, name), el("p", null, "No source knows this service."), eventRows(events.events)];
  const requests = {};
  for (const end of loads.clusters.flatMap((cluster) => cluster.endpoints)) {
    for (const counts of Object.values(end.reported_by)) {
      const sum = (requests[end.address] ||= { successes: 0, errors: 0, in_progress: 0 });
      for (const key of Object.keys(sum)) sum[key] += counts[key];
    }
  }
  const of = (instance, key) => requests[instance.address]?.[key] ?? "";
  return [
    el("h1", null, name),
    el("p", null, why.summary),
    el("h2", null, "Instances"),
    table([
      ["instance", (row) => row.id],
      ["address", (row) => row.address],
      ["version", (row) => row.version],
      ["state", (row) => el(row.gets_requests ? "span.good" : "span.warn", null, row.health)],
      ["weight#", (row) => row.weight],
      ["zone", (row) => row.zone],
      ["answered#", (row) => of(row, "successes")],
      ["failed#", (row) => of(row, "errors")],
      ["under way#", (row) => of(row, "in_progress")],
      ["why", (row) => row.why],
    ], why.instances, "It has no instances."),
    why.instances_in_all > why.instances.length && el("p.dim", null, `${why.instances_in_all - why.instances.length} more`),
    el("h2", null, "Routes that it asks for"),
    table([
      ["requests", (row) => row.requests],
      ["by", (row) => (row.by_policy_document ? "policy document" : "declaration")],
    ], why.routes, "None."),
    why.warnings.length > 0 && [el("h2", null, "Warnings"), el("ul", null, why.warnings.map((text) => el("li.warn", null, text)))],
    el("h2", null, "Clients"),
    el("p", null, `${why.clients.have_it} have its present endpoints. `,
      why.clients.left_without_it > 0 && `${why.clients.left_without_it} disconnected a moment ago without them.`),
    why.clients.behind.length > 0 && table([
      ["behind", (row) => row.client],
      ["for", (row) => age(row.seconds)],
      ["refused", (row) => row.refused || ""],
    ], why.clients.behind),
    el("h2", null, "What changed"),
    eventRows(events.events.slice(-50)),
  ].flat();
}

async function routes({ query }) {
  const part = query.get("host") || "";
  const asked = query.get("request") || "";
  const to = (host, request) => `#/routes?host=${encodeURIComponent(host)}&request=${encodeURIComponent(request)}`;
  const [answer, why] = await Promise.all([
    api(`/routes?host=${encodeURIComponent(part)}`),
    asked ? api(`/why?request=${encodeURIComponent(asked)}`).catch((error) => error.message) : null,
  ]);
  const field = el("input", { id: "request", type: "text", value: asked, "aria-label": "A request", placeholder: "GET https://api.example.com/orders/7 -H x-canary:1" });
  return [
    el("h1", null, "Routes"),
    el("h2", null, "What becomes of a request?"),
    el("form", { onsubmit: (event) => { event.preventDefault(); go(to(part, field.value)); } }, field, el("button", null, "Ask")),
    why && el("pre", null, why),
    el("h2", null, "In the order in which they are tried"),
    search("host", "Search by host", part, (text) => to(text, asked)),
    answer.listeners.map((listener) => [
      el("h2", null, `Listener ${listener.listener} (${listener.total})`),
      table([
        ["host", (row) => row.host],
        ["requests", (row) => row.requests],
        ["to", (row) => row.to],
        ["what to know", (row) => row.shadowed_by && el("span.warn", null, `no request reaches it: ${row.shadowed_by} takes all before it`)],
      ], listener.routes, "No routes."),
      listener.total > listener.routes.length
        && el("p.dim", null, `${listener.total - listener.routes.length} more: search by host narrows`),
    ]),
  ].flat(2);
}

async function clients({ query }) {
  const part = query.get("search") || "";
  const offset = Number(query.get("offset")) || 0;
  const to = (text, from) => `#/clients?search=${encodeURIComponent(text)}&offset=${from}`;
  const [all, streams] = await Promise.all([api("/status"), api("/streams")]);
  const words = (client) => `${client.node} ${client.fleet} ${client.agent} ${client.address} ${client.state}`;
  const fits = all.clients.filter((client) => words(client).includes(part));
  const rows = fits.slice(offset, offset + PAGE);
  const kind = { "in sync": "good", behind: "warn", refused: "bad" };
  const types = (client) => Object.entries(client.types)
    .map(([type, of]) => `${type}: ${of.wildcard ? "all" : of.names}`).join(", ");
  return [
    el("h1", null, "Clients"),
    search("search", "Search by node, fleet, program, address or state", part, (text) => to(text, 0)),
    table([
      ["node", (client) => client.node],
      ["fleet", (client) => client.fleet],
      ["state", (client) => el(`span.${kind[client.state] || "dim"}`, null, client.state)],
      ["what to know", (client) => client.text],
      ["address", (client) => client.address],
      ["program", (client) => [client.agent, client.version].filter(Boolean).join(" ")],
      ["for", (client) => age(client.connected_seconds)],
      ["asks for", types],
    ], rows, part ? "No client has that in its row." : "No client is connected."),
    pages(offset, offset + rows.length, fits.length, (from) => to(part, from)),
    all.total > all.clients.length && el("p.dim", null, `${all.total - all.clients.length} more clients are not listed`),
    streams.rejected.length > 0 && [el("h2", null, "Rejected by fleets"), table([
      ["fleet", (row) => row.fleet],
      ["resource", (row) => `${row.type} ${row.name}`],
      ["refused by#", (row) => row.refused_by],
      ["accepted by#", (row) => row.accepted_by],
      ["why", (row) => row.message],
    ], streams.rejected)],
  ].flat();
}

async function events({ query }) {
  const part = query.get("service") || "";
  const answer = await api(`/events${part ? `?service=${encodeURIComponent(part)}` : ""}`);
  return [
    el("h1", null, "Events"),
    search("service", "Of one service, by its whole name", part, (text) => `#/events?service=${encodeURIComponent(text)}`),
    el("p.dim", null, `The newest first${answer.older ? `; ${answer.older} older ones are not shown` : ""}.`),
    eventRows(answer.events.slice(-500)),
  ];
}

/** How much has spoken against each candidate while this page was open: time and e-value. */
const curves = new Map();

/** The e-value over time, each factor of ten as high as the next, with the line at which a version is taken back. */
function curve(points, threshold) {
  if (points.length < 2) return el("p.dim", null, "The curve begins when this page is open.");
  const [from, to] = [points[0][0], points[points.length - 1][0]];
  const top = Math.max(3, Math.log10(threshold) + 1);
  const y = (e) => 160 - (160 * Math.min(top, Math.max(-2, Math.log10(Math.max(e, 1e-9))) + 2)) / (top + 2);
  const x = (at) => (640 * (at - from)) / Math.max(1, to - from);
  const space = "http://www.w3.org/2000/svg";
  const make = (name, attributes) => {
    const made = document.createElementNS(space, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const picture = make("svg", { class: "curve", viewBox: "0 0 640 160", preserveAspectRatio: "none", role: "img" });
  picture.setAttribute("aria-label", `E is ${points[points.length - 1][1].toPrecision(3)}, taken back at ${threshold}`);
  picture.append(
    make("line", { x1: 0, x2: 640, y1: y(threshold), y2: y(threshold) }),
    make("path", { d: points.map(([at, e], n) => `${n ? "L" : "M"}${x(at).toFixed(1)} ${y(e).toFixed(1)}`).join(" ") }));
  return picture;
}

async function rollouts() {
  const all = await api("/rollouts");
  const rows = (all && all.rollouts) || [];
  return [
    el("h1", null, "Rollouts"),
    all && all.state && el("p.dim", null, `Shared state: ${all.state}`),
    table([
      ["service", (row) => link(`#/rollout/${encodeURIComponent(row.service)}`, row.service)],
      ["how it stands", (row) => row.text],
      ["stable", (row) => row.stable ?? ""],
      ["candidate", (row) => row.candidate ?? ""],
      ["step", (row) => row.step ?? ""],
    ], rows, "No service is rolled out: declare rollout = auto, or start one with xds-bridge rollout start SERVICE."),
  ];
}

async function rollout({ rest: [name] }) {
  const encoded = encodeURIComponent(name);
  const [seen, text] = await Promise.all([api(`/rollouts/${encoded}`), api(`/rollouts/${encoded}?format=text`)]);
  if (!seen) return [el("h1", null, name), el("p", null, "This service is not rolled out.")];
  const verdict = seen.report && seen.report.verdict;
  const signals = (verdict && verdict.signals) || [];
  for (const signal of signals) {
    const key = `${name} ${verdict.candidate} ${signal.signal}`;
    const points = curves.get(key) || [];
    points.push([Date.now(), signal.e]);
    curves.set(key, points.slice(-1000));
  }
  const weights = Object.entries((seen.shares && seen.shares.weights) || {});
  return [
    el("h1", null, `Rollout of ${name}`),
    el("p", null, seen.text, " ", service(name)),
    table([
      ["version", ([version]) => version || "(none)"],
      ["share", ([version, weight]) => {
        const bar = el("i");
        bar.style.width = `${(100 * weight) / seen.shares.of}%`;
        return [el("span.bar", null, bar), ` ${(100 * weight) / seen.shares.of} %`, version === seen.shares.stable ? " stable" : ""];
      }],
      ["instances", ([version]) => {
        const of = seen.instances[version];
        return of ? `${of.healthy} of ${of.total} healthy` : "none";
      }],
    ], weights, "No version has a share yet."),
    signals.map((signal) => [
      el("h2", null, `Judged by ${signal.signal}: E is ${Number(signal.e).toPrecision(3)}, taken back at ${signal.threshold}`),
      curve(curves.get(`${name} ${verdict.candidate} ${signal.signal}`), signal.threshold),
    ]),
    el("h2", null, "Report"),
    el("pre", null, text),
  ];
}

export const views = [
  { name: "overview", title: "Overview", show: overview },
  { name: "services", title: "Services", show: services },
  { name: "service", title: "Service", show: one, under: "services" },
  { name: "routes", title: "Routes", show: routes },
  { name: "clients", title: "Clients", show: clients },
  { name: "rollouts", title: "Rollouts", show: rollouts },
  { name: "rollout", title: "Rollout", show: rollout, under: "rollouts" },
  { name: "events", title: "Events", show: events },
];
