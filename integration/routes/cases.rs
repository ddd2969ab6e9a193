//! What services declare as routes, and what becomes of requests.

/// What a service declares as `route`, and requests to its host with what comes of them: the line of [`Echo`], or
/// the status, and what the head of the answer holds. `$` is the name of the service, and its host.
pub(super) struct Case(
    pub(super) &'static [&'static str],
    pub(super) &'static [(&'static str, &'static str)],
);

/// The route's requests have the header `t-r` at the server.
pub(super) const CASES: &[Case] = &[
    Case(
        &["path=/a set-header=t-r:1"],
        &[
            ("GET /a", "echo GET /a $ t-r=1"),
            ("GET /a/b", "echo GET /a/b $ t-r=1"),
            ("GET /ab", "echo GET /ab $"),
        ],
    ),
    Case(
        &["exact=/a set-header=t-r:1"],
        &[
            ("GET /a", "echo GET /a $ t-r=1"),
            ("GET /a?x=1", "echo GET /a?x=1 $ t-r=1"),
            ("GET /a/b", "echo GET /a/b $"),
        ],
    ),
    Case(
        &[r"regex=/v\d+(?:/.*)? set-header=t-r:1"],
        &[
            ("GET /v2", "echo GET /v2 $ t-r=1"),
            ("GET /v22/x?y=1", "echo GET /v22/x?y=1 $ t-r=1"),
            ("GET /v", "echo GET /v $"),
            ("GET /a/v2", "echo GET /a/v2 $"),
        ],
    ),
    Case(
        &["path=/ method=POST,PUT set-header=t-r:1"],
        &[
            ("POST /", "echo POST / $ t-r=1"),
            ("PUT /", "echo PUT / $ t-r=1"),
            ("GET /", "echo GET / $"),
        ],
    ),
    Case(
        &[
            "path=/equal header=t-a:1 set-header=t-r:1",
            "path=/any header=t-a set-header=t-r:2",
            "path=/none header=!t-a set-header=t-r:3",
            "path=/not header=!t-a:1 set-header=t-r:4",
            "path=/prefix header-prefix=t-a:ab set-header=t-r:5",
            "path=/regex header-regex=t-a:[0-9]+ set-header=t-r:6",
        ],
        &[
            ("GET /equal t-a:1", "echo GET /equal $ t-a=1 t-r=1"),
            ("GET /equal t-a:12", "echo GET /equal $ t-a=12"),
            ("GET /any t-a:7", "echo GET /any $ t-a=7 t-r=2"),
            ("GET /any", "echo GET /any $"),
            ("GET /none", "echo GET /none $ t-r=3"),
            ("GET /none t-a:1", "echo GET /none $ t-a=1"),
            ("GET /not", "echo GET /not $ t-r=4"),
            ("GET /not t-a:2", "echo GET /not $ t-a=2 t-r=4"),
            ("GET /not t-a:1", "echo GET /not $ t-a=1"),
            ("GET /prefix t-a:abc", "echo GET /prefix $ t-a=abc t-r=5"),
            ("GET /prefix t-a:cab", "echo GET /prefix $ t-a=cab"),
            ("GET /regex t-a:12", "echo GET /regex $ t-a=12 t-r=6"),
            ("GET /regex t-a:12a", "echo GET /regex $ t-a=12a"),
        ],
    ),
    Case(
        &[
            "path=/ query=v:1 set-header=t-r:1",
            "path=/ query=debug set-header=t-r:2",
            "path=/ query-prefix=p:a set-header=t-r:3",
            "path=/ query-regex=n:[0-9]+ set-header=t-r:4",
        ],
        &[
            ("GET /?v=1", "echo GET /?v=1 $ t-r=1"),
            ("GET /?a=b&v=1", "echo GET /?a=b&v=1 $ t-r=1"),
            ("GET /?v=11", "echo GET /?v=11 $"),
            ("GET /?debug=0", "echo GET /?debug=0 $ t-r=2"),
            ("GET /?p=ab", "echo GET /?p=ab $ t-r=3"),
            ("GET /?n=12", "echo GET /?n=12 $ t-r=4"),
            ("GET /?n=1a", "echo GET /?n=1a $"),
        ],
    ),
    Case(
        &[
            "path=/ cookie=v:a.b set-header=t-r:1",
            "path=/ cookie=any set-header=t-r:2",
            "path=/ cookie-prefix=p:a set-header=t-r:3",
            "path=/ cookie-regex=n:[0-9]+|x set-header=t-r:4",
        ],
        &[
            ("GET / cookie:v=a.b", "echo GET / $ t-r=1"),
            ("GET / cookie:u=1;_v=a.b;_w=2", "echo GET / $ t-r=1"),
            ("GET / cookie:v=aXb", "echo GET / $"),
            ("GET / cookie:xv=a.b", "echo GET / $"),
            ("GET / cookie:v=a.bc", "echo GET / $"),
            ("GET / cookie:any=", "echo GET / $ t-r=2"),
            ("GET / cookie:p=ab", "echo GET / $ t-r=3"),
            ("GET / cookie:n=12", "echo GET / $ t-r=4"),
            ("GET / cookie:n=12x", "echo GET / $"),
            ("GET /", "echo GET / $"),
        ],
    ),
    Case(
        &[
            "path=/a/b set-header=t-r:1",
            "path=/a priority=5 set-header=t-r:2",
        ],
        &[("GET /a/b", "echo GET /a/b $ t-r=2"), ("GET /b", "echo GET /b $")],
    ),
    Case(
        &[
            "path=/a rewrite=/b",
            "path=/c rewrite=/",
            "path=/d rewrite=/e/",
            "path=/f* rewrite=/g",
            "exact=/h rewrite=/i/j",
            r"path=/k regex-rewrite=^/k/(\d+)=>/l/\1/m",
        ],
        &[
            ("GET /a", "echo GET /b $"),
            ("GET /a/x?q=1", "echo GET /b/x?q=1 $"),
            ("GET /c", "echo GET / $"),
            ("GET /c/", "echo GET / $"),
            ("GET /c/x", "echo GET /x $"),
            ("GET /d", "echo GET /e/ $"),
            ("GET /d/x", "echo GET /e/x $"),
            ("GET /fx", "echo GET /gx $"),
            ("GET /h", "echo GET /i/j $"),
            ("GET /k/12?q=1", "echo GET /l/12/m?q=1 $"),
            ("GET /k/x", "echo GET /k/x $"),
        ],
    ),
    Case(
        &["path=/ rewrite=/base host-rewrite=inner.test:81"],
        &[
            ("GET /", "echo GET /base/ inner.test:81"),
            ("GET /x", "echo GET /base/x inner.test:81"),
        ],
    ),
    Case(
        &[
            "path=/https redirect=https:",
            "path=/host redirect=//www.test:8443 redirect-code=302",
            "path=/whole redirect=/new redirect-code=308 redirect-query=drop",
            "path=/rest redirect=http://www.test/new/* redirect-code=307",
            "path=/root redirect=/* redirect-code=303",
        ],
        &[
            ("GET /https/x?q=1", "301 location: https://$/https/x?q=1"),
            ("GET /host/x", "302 location: http://www.test:8443/host/x"),
            ("GET /whole/x?q=1", "308 location: http://$/new\r"),
            ("GET /rest/x?q=1", "307 location: http://www.test/new/x?q=1"),
            ("GET /rest", "307 location: http://www.test/new/\r"),
            ("GET /root/x", "303 location: http://$/x\r"),
        ],
    ),
    Case(
        &[
            "path=/gone respond=410",
            r#"path=/ok respond="200:all is \"well\"""#,
        ],
        &[("GET /gone", "410"), ("GET /ok", "200 \r\n\r\nall is \"well\"")],
    ),
    Case(
        &[
            "path=/ set-header=t-set:new add-header=t-add:2 remove-header=t-gone set-header=t-me:%REQ(t-who)% \
             set-header=t-cent:5%% set-response-header=t-server:no add-response-header=t-more:1 \
             remove-response-header=date",
        ],
        &[(
            "GET / t-set:old t-add:1 t-gone:1 t-who:me",
            "echo GET / $ t-add=1 t-add=2 t-cent=5% t-me=me t-set=new t-who=me",
        )],
    ),
    Case(
        &[
            "path=/ default-header=t-own:mine default-header=t-path:%PATH(NQ:PATH)% rewrite=/n/ \
             default-response-header=t-server:no default-response-header=t-more:1",
        ],
        &[
            ("GET /a?b t-own:yours", "echo GET /n/a?b $ t-own=yours t-path=/a"),
            ("GET /", "echo GET /n/ $ t-own=mine t-path=/"),
            ("GET /", "200 t-server: yes"),
            ("GET /", "200 t-more: 1"),
        ],
    ),
    Case(
        &["path=/ remove-response-header=t-server add-response-header=t-more:1"],
        &[("GET /", "200 t-more: 1"), ("GET /", "200 !t-server")],
    ),
    Case(
        &["path=/ cors=https://*.shop.test,https://a.test cors-methods=PUT cors-headers=x-a cors-max-age=1h"],
        &[
            (
                "OPTIONS / origin:https://www.shop.test access-control-request-method:PUT",
                "200 access-control-allow-origin: https://www.shop.test",
            ),
            (
                "OPTIONS / origin:https://www.shop.test access-control-request-method:PUT",
                "200 access-control-max-age: 3600",
            ),
            (
                "GET / origin:https://a.test",
                "200 access-control-allow-origin: https://a.test",
            ),
            (
                "GET / origin:https://evil.test",
                "200 !access-control-allow-origin",
            ),
            (
                "GET / origin:https://shop.test.evil.test",
                "200 !access-control-allow-origin",
            ),
        ],
    ),
    Case(
        &["path=/status retry=503:2", "path=/status/502 retry=off"],
        &[("GET /status/503", "200"), ("GET /status/503", "200")],
    ),
    Case(
        &[
            "path=/a authority-regex=s[0-9]+ set-header=t-r:1",
            "path=/b authority-regex=!s[0-9]+ set-header=t-r:2",
            r"path=/ url-regex=/u[^?]*\?v=1 set-header=t-r:3",
        ],
        &[
            ("GET /a", "echo GET /a $ t-r=1"),
            ("GET /b", "echo GET /b $"),
            ("GET /u/x?v=1", "echo GET /u/x?v=1 $ t-r=3"),
            ("GET /u/x?v=2", "echo GET /u/x?v=2 $"),
        ],
    ),
    Case(
        &["path=/ cors=https://a.test cors-expose=x-b cors-credentials=true"],
        &[
            (
                "GET / origin:https://a.test",
                "200 access-control-expose-headers: x-b",
            ),
            (
                "GET / origin:https://a.test",
                "200 access-control-allow-credentials: true",
            ),
            (
                "GET / origin:https://b.test",
                "200 !access-control-allow-credentials",
            ),
        ],
    ),
    Case(&["path=/ split=other:1,missing:0"], &[("GET /", "other GET / $")]),
];
