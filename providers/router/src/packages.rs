//! The packages that routers come from, each with a lock that names every file by its hash.

/// A package that holds a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Package {
    /// The SGLang Model Gateway.
    Smg,
    /// Its predecessor.
    SglangRouter,
    /// vLLM's own router.
    VllmRouter,
}

impl Package {
    /// Every package that this build has a lock for.
    pub const ALL: [Self; 3] = [Self::Smg, Self::SglangRouter, Self::VllmRouter];

    /// Returns the package's name, which is also the router's type in attributes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smg => "smg",
            Self::SglangRouter => "sglang-router",
            Self::VllmRouter => "vllm-router",
        }
    }

    /// Returns the version that the lock pins.
    pub fn version(self) -> &'static str {
        match self {
            Self::Smg => "1.13.0",
            Self::SglangRouter => "0.3.2",
            Self::VllmRouter => "0.1.17",
        }
    }

    /// Returns name and version as `host_unit.package` has them.
    pub fn pin(self) -> String {
        format!("{}=={}", self.name(), self.version())
    }

    /// Returns the lock, in pip's format.
    pub fn lock(self) -> &'static str {
        match self {
            Self::Smg => include_str!("packages/smg-1.13.0.txt"),
            Self::SglangRouter => include_str!("packages/sglang-router-0.3.2.txt"),
            Self::VllmRouter => include_str!("packages/vllm-router-0.1.17.txt"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Package;

    #[test]
    fn every_lock_pins_its_package_and_hashes_every_file() {
        for package in Package::ALL {
            assert!(package.lock().contains(&package.pin()), "{}", package.pin());
            let requirements = package.lock().lines().filter(|line| line.contains("==")).count();
            assert!(package.lock().matches("--hash=sha256:").count() >= requirements);
        }
    }
}
