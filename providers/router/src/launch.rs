//! How a router is launched: its package, arguments, ports and readiness.
//!
//! Facts behind the flags, observed on `smg` 1.13.0 and `sglang-router` 0.3.2: both have two listening ports, and one
//! in use kills the process; `/liveness` answers as soon as the HTTP server is up; the defaults of health checks
//! (3 times 60 s) and circuit breakers (60 s) keep requests from recovered workers for minutes. A router is launched
//! empty and filled through its API, so that one without workers and one with them are the same program. With
//! `power_of_two` both refuse to start unless two workers are named; those two may be dead, and then they are in no list
//! and get no request. (`--enable-igw`, which a discovery provider implies, lifts that check too, but then `/generate`
//! needs a model; and a provider makes unhealthy workers go away.)

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
}

impl RouterLaunch {
    /// Returns the inputs of the `host_unit` that runs it on a machine.
    pub fn unit_inputs(&self, machine: &str) -> Vec<(&'static str, Value)> {
        let mut argv = match self.package {
            Package::Smg => vec!["{package.dir}/bin/smg", "launch", "--disable-tokenizer-autoload"],
            Package::SglangRouter => vec!["{package.dir}/bin/python", "-m", "sglang_router.launch_router"],
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
            "--shutdown-grace-period-secs",
            "180",
            "--log-level",
            "info",
        ]);
        if self.policy == "power_of_two" {
            argv.push("--worker-urls");
            argv.extend(NOBODY);
            if self.package == Package::Smg {
                // It goes by loads that it asks workers for, every 10 s if not told: the old ones send all to one side.
                argv.extend(["--load-monitor-interval", "1"]);
            }
        }
        let lease = || Value::map([("range", Value::from(PORT_RANGE))]);
        let probe = Value::map([
            ("method", Value::from("GET")),
            ("path", Value::from("/liveness")),
            ("timeout_seconds", Value::Int(5)),
            ("interval_seconds", Value::Int(1)),
            ("ready_after", Value::Int(1)),
        ]);
        vec![
            ("machine", machine.into()),
            ("role", "router".into()),
            ("package", self.package.pin().into()),
            ("argv", Value::List(argv.into_iter().map(Value::from).collect())),
            ("ports", Value::map([("http", lease()), ("metrics", lease())])),
            ("probes", Value::List(vec![probe])),
            ("ready_timeout", Value::Int(60)),
            ("stop_timeout", Value::Int(200)),
        ]
    }
}
