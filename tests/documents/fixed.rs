//! Bounds that are fixed: where the code has each of docs/limits.md.

/// Bounds without a setting: the row, what stands there, and where it comes from.
pub(crate) const FIXED: &[(&str, &str, &[&str])] = &[
    (
        "load reports of one stream",
        "5; 20",
        &["const REPORTS: u32 = 5;", "const BURST: u32 = 20;"],
    ),
    (
        "of one load report",
        "50,000; 100,000; 200,000; 50,000",
        &[
            "clusters: 50_000,",
            "localities: 100_000,",
            "endpoints: 200_000,",
            "named: 50_000,",
        ],
    ),
    (
        "kept of load reports",
        "200,000; 200,000; 50,000; 500,000; 10,000,000",
        &[
            "names: 200_000,",
            "ends: 200_000,",
            "rows_of_client: 50_000,",
            "rows: 500_000,",
            "listed: 10_000_000,",
        ],
    ),
    (
        "streams of access logs (errors of rollouts)",
        "a quarter of `xds.max_connections`",
        &["const PART: usize = 4;"],
    ),
    (
        "access logs of one stream",
        "50; 100; 1 MiB; 2,000; 60 s",
        &[
            "const MESSAGES: u32 = 50;",
            "const BURST: u32 = 100;",
            "const LONGEST: usize = 1 << 20;",
            "const MOST_ENTRIES: usize = 2_000;",
            "const IDLE: Duration = Duration::from_secs(60);",
        ],
    ),
    (
        "kept of errors",
        "2,000; 200; 16 MiB; 6 h; 300",
        &[
            "clusters: 2_000,",
            "lines: 200,",
            "bytes: 16 << 20,",
            "age: Duration::from_secs(6 * 3_600),",
            "const MOST: u32 = 300;",
        ],
    ),
    (
        "streams for the status of clients (CSDS)",
        "16; 1; 64 KiB; 64; 5,000; 20,000",
        &[
            "const STREAMS: usize = 16;",
            "const REQUESTS: u32 = 1;",
            "const REQUEST: usize = 64 << 10;",
            "const MATCHERS: usize = 64;",
            "const OF_CLIENT: usize = 5_000;",
            "const IN_ALL: usize = 20_000;",
        ],
    ),
    (
        "webhooks; events that wait for one",
        "16; 256; 8; 10 s",
        &[
            "const MOST: usize = 16;",
            "const WAITING: usize = 256;",
            "attempts: 8,",
            "deadline: Duration::from_secs(10),",
        ],
    ),
    (
        "requests that the load reports of one client may claim",
        "1,000,000 a second since its last report, of 10 to 60 s",
        &[
            "const RATE: u64 = 1_000_000;",
            "const SHORTEST: Duration = Duration::from_secs(10);",
            "const LONGEST: Duration = Duration::from_secs(60);",
        ],
    ),
    (
        "orders that are remembered of one rollout",
        "6",
        &["const MAX_ORDERS: usize = 6;"],
    ),
    (
        "bytes of all quick load reports together",
        "128 MiB a second",
        &["const BYTES: usize = 128 << 20;"],
    ),
    (
        "clients that have left, in `/loads`",
        "1,000; 10 min",
        &[
            "left: 1_000,",
            "const FORGET: Duration = Duration::from_secs(600);",
        ],
    ),
    (
        "clients, and endpoints, listed by `/loads`",
        "1,000",
        &["const MOST: usize = 1_000;"],
    ),
    (
        "bytes of requests beyond the first MiB of each, of all connections",
        "64 MiB a second",
        &[
            "const LARGE: usize = 1 << 20;",
            "const TURN: usize = 64 << 10;",
            "const TURNS: u32 = 1_024;",
        ],
    ),
    (
        "bytes of one connection that are read in one go",
        "64 KiB",
        &["const SHARE: usize = 64 << 10;"],
    ),
    (
        "routes of one service, on all of their hosts and exposures",
        "256 KiB",
        &["const MAX_ROUTE_BYTES: usize = 256 << 10;"],
    ),
    (
        "versions of one service that share its requests",
        "8",
        &["pub(super) const MAX: usize = 8;"],
    ),
    (
        "names and claims in one request",
        "500,000, or twice `xds.max_names`",
        &["const ENTRIES: usize = 500_000;"],
    ),
    (
        "bytes of names: a stream",
        "32 MiB; 64 MiB",
        &[
            "name_bytes: 32 << 20",
            "COMMON: usize = 48 << 20;",
            "SHARED: usize = 16 << 20;",
        ],
    ),
    ("a name", "512 bytes", &["MAX_NAME: usize = 512;"]),
    (
        "a request that has begun",
        "15 s",
        &["WHOLE: Duration = Duration::from_secs(15);"],
    ),
    (
        "TLS handshakes at once",
        "512; 10 s",
        &[
            "HANDSHAKES: usize = 512;",
            "GREETING: Duration = Duration::from_secs(10);",
        ],
    ),
    (
        "admin port",
        "64; 2",
        &["ADMIN: usize = 64;", "DUMPS: usize = 2;"],
    ),
    ("probes at once", "128", &["AT_ONCE: usize = 128;"]),
    ("an answer of Consul", "32 MiB", &["=> 32 * 1024 * 1024,"]),
    (
        "instances of one service in Consul",
        "40,000",
        &["MAX_READ: usize = 40_000;"],
    ),
    (
        "a list or table of one entry in Consul",
        "4,096 elements; 1 MiB",
        &["MAX_ELEMENTS: usize = 4096;", "MAX_BYTES: usize = 1 << 20;"],
    ),
    (
        "lists and tables within each other",
        "128",
        &["MAX_DEPTH: usize = 128;"],
    ),
    (
        "the head of an answer of Consul",
        "64 KiB",
        &["READ_BUFFER: usize = 64 << 10;"],
    ),
    (
        "services of Consul that are confirmed at once",
        "32",
        &["AT_ONCE: usize = 32;"],
    ),
    (
        "keys of etcd without room",
        "10,000",
        &["MAX_REMEMBERED: usize = 10_000;"],
    ),
    (
        "service names in Consul",
        "100,000",
        &["MAX_NAMES: usize = 100_000;"],
    ),
    (
        "policy documents in Consul",
        "10,000; 64 KiB",
        &["MAX_DOCUMENTS: usize = 10_000;", "MAX_VALUE: usize = 64 * 1024;"],
    ),
    ("a value in etcd", "1.5 MiB", &["MAX_VALUE: usize = 1536 * 1024;"]),
    (
        "a file of a `file` source",
        "64 MiB",
        &["MAX_FILE: u64 = 64 * 1024 * 1024;"],
    ),
    ("a file with a token", "4 MiB", &["SMALL: u64 = 4 << 20;"]),
    (
        "keys of shared state",
        "10,000; 16 MiB",
        &["MAX_KEYS: usize = 10_000;", "MAX_BYTES: usize = 16 << 20;"],
    ),
    (
        "a value of shared state",
        "48 KiB; 2,048 bytes",
        &["MAX_VALUE: usize = 48 << 10;", "MAX_KEY: usize = 2_048;"],
    ),
    (
        "a file of the last known state",
        "512 MiB",
        &["MAX_BYTES: u64 = 512 << 20;"],
    ),
    ("a service name", "200 bytes", &["name.len() > 200"]),
    ("routes declared by one entry", "64", &["MAX_ROUTES: usize = 64;"]),
    (
        "weight of an instance",
        "128,000",
        &["MAX_WEIGHT: u32 = 128_000;"],
    ),
    (
        "a version, a zone, a region",
        "128 bytes",
        &["MAX_LABEL: usize = 128;"],
    ),
    (
        "zones that clients say they are in, since the start",
        "64",
        &["MAX_PLACES: usize = 64;"],
    ),
    (
        "services that one entry needs",
        "200",
        &["MAX_NEEDS: usize = 200;"],
    ),
    ("priority of a source", "100", &["MOST_BEHIND: usize = 100;"]),
    (
        "services without instances",
        "10,000",
        &["MAX_KEPT: usize = 10_000;"],
    ),
    (
        "log lines about entries",
        "20; 100",
        &["PER_EVENT: usize = 20;", "PER_WINDOW: usize = 100;"],
    ),
    (
        "log lines about one kind",
        "one a minute",
        &["WINDOW: Duration = Duration::from_secs(60);"],
    ),
    ("names in metrics", "100", &["MAX_ENTRIES: usize = 100;"]),
    (
        "events kept for `xds-bridge events`; bytes of their words",
        "10,000; 4 MiB",
        &["EVENTS: usize = 10_000;", "BYTES: usize = 4 << 20;"],
    ),
    (
        "a record of rollouts of one service",
        "47 KiB",
        &["MAX_BYTES: usize = 47 << 10;"],
    ),
    (
        "of one service: rejected versions; replaced ones; waiting ones; rollouts that have ended",
        "40; 24; 8; 20",
        &[
            "MAX_REJECTED: usize = 40;",
            "MAX_RETIRED: usize = 24;",
            "MAX_WAITING: usize = 8;",
            "MAX_HISTORY: usize = 20;",
        ],
    ),
    (
        "replicas whose counts are remembered during a rollout, with their starts; services watched beside it",
        "16; 64",
        &["MAX_RUNS: usize = 16;", "MAX_WATCHED: usize = 64;"],
    ),
    (
        "steps of a rollout; rows of endpoints and zones in a verdict",
        "20; 12",
        &["MAX_STEPS: usize = 20;", "MAX_ROWS: usize = 12;"],
    ),
    (
        "what a bridge counts for rollouts",
        "8 values",
        &["MAX_PARTS: usize = 8;"],
    ),
    (
        "an answer of a gate",
        "5 s; 4 KiB",
        &[
            "const TIMEOUT: Duration = Duration::from_secs(5);",
            "const BODY: usize = 4 << 10;",
        ],
    ),
    (
        "events of rollouts that are kept",
        "200; 32",
        &["const PAST: usize = 200;", "Semaphore::const_new(32)"],
    ),
    ("streams listed", "1,000", &["LISTED: usize = 1_000;"]),
    ("clients listed", "1,000", &["LISTED: usize = 1_000;"]),
    (
        "room in what is kept of load reports",
        "10 s",
        &["PAUSE: Duration = Duration::from_secs(10);"],
    ),
    (
        "clients that disconnected within",
        "10,000",
        &["MAX: usize = 10_000;"],
    ),
    (
        "publications of one type",
        "32",
        &["OPEN: usize = 32;", "FINISHED: usize = 1_024;"],
    ),
    ("waits", "64", &["Semaphore::const_new(64);", "MOST: usize = 64;"]),
];
