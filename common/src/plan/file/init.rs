//! The plan `squall init` writes.

/// A commented plan that loads and runs as it is.
pub const INIT_PLAN: &str = r#"# A Squall plan. `squall check plan.yaml` reads it, `squall run plan.yaml` runs
# it, `squall run plan.yaml --simulate` rehearses it against a simulated service.
name: shop

# Named values for `{{name}}` anywhere below; change one with
# `squall run plan.yaml --set peak=50/s`.
vars:
  peak: 20/s
  p99_limit: 500ms

# Where requests go. Override with `--target URL`.
targets:
  shop:
    url: http://127.0.0.1:18080
    # region: azure/eastus         # where it lives, for figures by region
    # http: 2                      # auto, 1.1 or 2
    # headers: {authorization: "Bearer ${env:SHOP_TOKEN}"}  # secrets are references

# Kinds of traffic. Each shares the load below by its weight, or has its own.
scenarios:
  browse:
    weight: 3
    get: /fixed?ms=5
    checks:
      - status: 2xx
  order:
    weight: 1
    steps:
      - name: echo an order
        post: /echo
        # `json` sets content-type; `body`, `form` and `body_file` also exist.
        json: {user: "{{$randomFullName}}", sku: "A-{{$randomInt 1 100}}"}
        think_time: {between: [100ms, 300ms]}
      - name: fetch it
        get: /fixed
        query: {ms: 8}

# How much, when. Rates (`20/s`) are the open model: arrivals do not wait for
# answers. Users (`20`) are the closed model: each waits before its next request.
load:
  phases:
    - ramp: {from: 1/s, to: "{{peak}}", over: 5s}
    - hold: "{{peak}}"
      for: 20s
  max_in_flight: 200

# Left out of the steady-state figures.
warm_up: 5s

# What must hold, or the run fails with exit code 10.
slo:
  - p99(response_time) < {{p99_limit}}
  - p95(response_time) < 400ms for browse in steady state
  - error_rate < 1%
"#;
