//! How a router is launched: its package, arguments, ports and readiness.
//!
//! Facts behind the flags, observed on `smg` 1.13.0 and `sglang-router` 0.3.2: both have two listening ports, and one
//! in use kills the process; `/liveness` answers as soon as the HTTP server is up; the defaults of health checks
//! (3 times 60 s) and circuit breakers (60 s) keep requests from recovered workers for minutes. A router is launched
//! empty and filled through its API, so that one without workers and one with them are the same program. With
//! `power_of_two` both refuse to start unless two workers are named; those two may be dead, and then they are in no list
//! and get no request. (`--enable-igw`, which a discovery provider implies, lifts that check too, but then `/generate`
//! needs a model; and a provider makes unhealthy workers go away.) With `--pd-disaggregation` they are to be two prefill
//! and two decode workers; the other policies start empty there too, and take both kinds through the API.
//!
//! Of `vllm-router` 0.1.17 the same was observed, but that it takes prefill and decode workers at its start alone: it is not
//! launched with them apart.

use gabion_engine::value::Value;

use crate::packages::Package;

/// The ports that routers are leased from, away from those that programs pick for themselves.
const PORT_RANGE: &str = "21000-24999";

/// Workers that never answer: reserved ports on which nothing listens.
const NOBODY: [&str; 2] = ["http://127.0.0.1:1", "http://127.0.0.1:2"];

/// A router to launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterLaunch {
    /// The program.
    pub package: Package,
    /// Its routing policy, in the router's own word.
    pub policy: String,
    /// Whether its workers are prefill and decode workers, of which each request gets one each.
    pub separates_prefill: bool,
}

/// Returns the probe that a router answers once it serves, with workers and without.
pub fn liveness_probe() -> Value {
    Value::map([
        ("method", Value::from("GET")),
        ("path", Value::from("/liveness")),
        ("timeout_seconds", Value::Int(5)),
        ("interval_seconds", Value::Int(1)),
        ("ready_after", Value::Int(1)),
    ])
}

impl RouterLaunch {
    /// Returns the inputs of the `host_unit` that runs it on a machine.
    pub fn unit_inputs(&self, machine: &str) -> Vec<(&'static str, Value)> {
        let mut argv = match self.package {
            Package::Smg => vec!["{package.dir}/bin/smg", "launch", "--disable-tokenizer-autoload"],
            Package::SglangRouter => vec!["{package.dir}/bin/python", "-m", "sglang_router.launch_router"],
            Package::VllmRouter => vec!["{package.dir}/bin/vllm-router"],
        };
        argv.extend([
            "--host",
            "127.0.0.1",
            "--port",
            "{ports.http}",
            "--prometheus-host",
            "127.0.0.1",
            "--prometheus-port",
            "{ports.metrics}",
            "--policy",
            &self.policy,
            "--health-check-interval-secs",
            "5",
            "--health-failure-threshold",
            "2",
            "--health-success-threshold",
            "1",
            "--cb-timeout-duration-secs",
            "5",
        ]);
        if self.package != Package::VllmRouter {
            // vLLM's finishes what it has begun, and knows no limit to that.
            argv.extend(["--shutdown-grace-period-secs", "180"]);
        }
        argv.extend(["--log-level", "info"]);
        let power_of_two = self.policy == "power_of_two";
        if self.package == Package::Smg {
            // It looks again after 30 s if not told, at a worker that did not answer at once; the old one after 1 s.
            // Each look is written to the log, and nobody answers for as long as it looks.
            let interval = if power_of_two { "5" } else { "1" };
            argv.extend(["--worker-startup-check-interval", interval]);
        }
        if self.separates_prefill {
            argv.push("--pd-disaggregation");
        }
        if power_of_two {
            match self.separates_prefill {
                false => {
                    argv.push("--worker-urls");
                    argv.extend(NOBODY);
                }
                true => argv.extend(NOBODY.iter().flat_map(|url| ["--prefill", url, "--decode", url])),
            }
            if self.package == Package::Smg {
                // It goes by loads that it asks workers for, every 10 s if not told: the old ones send all to one side.
                argv.extend(["--load-monitor-interval", "1"]);
            }
        }
        let lease = || Value::map([("range", Value::from(PORT_RANGE))]);
        vec![
            ("machine", machine.into()),
            ("role", "router".into()),
            ("package", self.package.pin().into()),
            ("argv", Value::List(argv.into_iter().map(Value::from).collect())),
            ("ports", Value::map([("http", lease()), ("metrics", lease())])),
            ("probes", Value::List(vec![liveness_probe()])),
            ("ready_timeout", Value::Int(60)),
            ("stop_timeout", Value::Int(200)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use insta::{assert_json_snapshot, assert_snapshot};

    use super::*;

    fn argv(package: Package, policy: &str) -> String {
        argv_of(package, policy, false)
    }

    fn argv_of(package: Package, policy: &str, separates_prefill: bool) -> String {
        let launch = RouterLaunch {
            package,
            policy: policy.to_owned(),
            separates_prefill,
        };
        let inputs = launch.unit_inputs("local");
        let Some((_, Value::List(argv))) = inputs.into_iter().find(|(name, _)| *name == "argv") else {
            panic!("no arguments")
        };
        let words: Vec<&str> = argv.iter().filter_map(Value::as_str).collect();
        // One option a line.
        words.join(" ").replace(" --", "\n--")
    }

    #[test]
    fn smg_is_launched_empty_and_by_loopback_alone() {
        assert_snapshot!(argv(Package::Smg, "cache_aware"), @r"
        {package.dir}/bin/smg launch
        --disable-tokenizer-autoload
        --host 127.0.0.1
        --port {ports.http}
        --prometheus-host 127.0.0.1
        --prometheus-port {ports.metrics}
        --policy cache_aware
        --health-check-interval-secs 5
        --health-failure-threshold 2
        --health-success-threshold 1
        --cb-timeout-duration-secs 5
        --shutdown-grace-period-secs 180
        --log-level info
        --worker-startup-check-interval 1
        ");
    }

    #[test]
    fn smg_gets_two_dead_workers_for_power_of_two() {
        assert_snapshot!(argv(Package::Smg, "power_of_two"), @r"
        {package.dir}/bin/smg launch
        --disable-tokenizer-autoload
        --host 127.0.0.1
        --port {ports.http}
        --prometheus-host 127.0.0.1
        --prometheus-port {ports.metrics}
        --policy power_of_two
        --health-check-interval-secs 5
        --health-failure-threshold 2
        --health-success-threshold 1
        --cb-timeout-duration-secs 5
        --shutdown-grace-period-secs 180
        --log-level info
        --worker-startup-check-interval 5
        --worker-urls http://127.0.0.1:1 http://127.0.0.1:2
        --load-monitor-interval 1
        ");
    }

    #[test]
    fn sglang_router_is_launched_by_its_module() {
        assert_snapshot!(argv(Package::SglangRouter, "cache_aware"), @r"
        {package.dir}/bin/python -m sglang_router.launch_router
        --host 127.0.0.1
        --port {ports.http}
        --prometheus-host 127.0.0.1
        --prometheus-port {ports.metrics}
        --policy cache_aware
        --health-check-interval-secs 5
        --health-failure-threshold 2
        --health-success-threshold 1
        --cb-timeout-duration-secs 5
        --shutdown-grace-period-secs 180
        --log-level info
        ");
    }

    #[test]
    fn sglang_router_gets_two_dead_workers_for_power_of_two() {
        assert_snapshot!(argv(Package::SglangRouter, "power_of_two"), @r"
        {package.dir}/bin/python -m sglang_router.launch_router
        --host 127.0.0.1
        --port {ports.http}
        --prometheus-host 127.0.0.1
        --prometheus-port {ports.metrics}
        --policy power_of_two
        --health-check-interval-secs 5
        --health-failure-threshold 2
        --health-success-threshold 1
        --cb-timeout-duration-secs 5
        --shutdown-grace-period-secs 180
        --log-level info
        --worker-urls http://127.0.0.1:1 http://127.0.0.1:2
        ");
    }

    #[test]
    fn vllm_router_is_launched_the_same_way_without_a_limit_to_its_end() {
        let argv = |policy| argv(Package::VllmRouter, policy);
        assert_snapshot!(argv("power_of_two"), @r"
        {package.dir}/bin/vllm-router
        --host 127.0.0.1
        --port {ports.http}
        --prometheus-host 127.0.0.1
        --prometheus-port {ports.metrics}
        --policy power_of_two
        --health-check-interval-secs 5
        --health-failure-threshold 2
        --health-success-threshold 1
        --cb-timeout-duration-secs 5
        --log-level info
        --worker-urls http://127.0.0.1:1 http://127.0.0.1:2
        ");
        assert!(!argv("round_robin").contains("--worker-urls"));
    }

    #[test]
    fn other_policies_differ_in_nothing_but_their_name() {
        for package in Package::ALL {
            let usual = argv(package, "cache_aware");
            for policy in ["round_robin", "random"] {
                assert_eq!(argv(package, policy), usual.replace("cache_aware", policy));
            }
        }
    }

    #[test]
    fn separate_prefill_is_a_flag_and_dead_workers_of_both_kinds_for_power_of_two() {
        for package in [Package::Smg, Package::SglangRouter] {
            let (whole, separate) = (
                argv(package, "round_robin"),
                argv_of(package, "round_robin", true),
            );
            assert_eq!(separate, format!("{whole}\n--pd-disaggregation"));
            let power_of_two = argv_of(package, "power_of_two", true);
            assert!(!power_of_two.contains("--worker-urls"), "{power_of_two}");
            for part in ["--prefill", "--decode"] {
                for url in NOBODY {
                    assert!(power_of_two.contains(&format!("{part} {url}")), "{power_of_two}");
                }
            }
        }
    }

    #[test]
    fn the_rest_of_the_unit_is_the_same_for_all() {
        let rest = |package| {
            let launch = RouterLaunch {
                package,
                policy: "random".to_owned(),
                separates_prefill: false,
            };
            let inputs = launch.unit_inputs("local").into_iter();
            let kept = inputs.filter(|(name, _)| !matches!(*name, "argv" | "package"));
            Value::map(kept)
        };
        for package in Package::ALL {
            assert_eq!(rest(Package::Smg), rest(package));
        }
        assert_json_snapshot!(rest(Package::Smg), @r#"
        {
          "machine": "local",
          "ports": {
            "http": {
              "range": "21000-24999"
            },
            "metrics": {
              "range": "21000-24999"
            }
          },
          "probes": [
            {
              "interval_seconds": 1,
              "method": "GET",
              "path": "/liveness",
              "ready_after": 1,
              "timeout_seconds": 5
            }
          ],
          "ready_timeout": 60,
          "role": "router",
          "stop_timeout": 200
        }
        "#);
    }
}
