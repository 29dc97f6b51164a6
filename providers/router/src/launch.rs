//! How a router is launched: its package, arguments, ports and readiness.
//!
//! Facts behind the flags, observed on `smg` 1.13.0 and `sglang-router` 0.3.2: both have two listening ports, and one
//! in use kills the process; `/liveness` answers as soon as the HTTP server is up; the defaults of health checks
//! (3 times 60 s) and circuit breakers (60 s) keep requests from recovered workers for minutes. A router is launched
//! empty and filled through its API, so that one without workers and one with them are the same program.

use gabion_engine::value::Value;

use crate::packages::Package;

/// The ports that routers are leased from, away from those that programs pick for themselves.
const PORT_RANGE: &str = "21000-24999";

/// The policy that both packages refuse to start with unless two workers are promised (`Power-of-two policy requires
/// at least 2 workers`), although they take them through the API as well. `smg` is content with a discovery file, which
/// may be missing; its predecessor with two addresses at which nobody ever answers.
const POWER_OF_TWO: &str = "power_of_two";

/// The discard port of this machine: a worker there is never healthy, and therefore never listed nor used.
const NOBODY: &str = "http://127.0.0.1:9";

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
        if self.policy == POWER_OF_TWO {
            argv.extend(match self.package {
                Package::Smg => &[
                    "--discovery-provider",
                    "file",
                    "--discovery-file",
                    "{unit.dir}/no-workers.json",
                ][..],
                Package::SglangRouter => &["--worker-urls", NOBODY, NOBODY][..],
            });
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
