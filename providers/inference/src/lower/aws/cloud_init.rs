//! What a new machine does at its first start, as cloud-init reads it.
//!
//! Everybody who may describe the machine can read it: there is no secret and no private key in it. The agent is not in
//! it either, so that another version of it never means another machine.

use serde_yaml::{Mapping, Value as Yaml};

/// What is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup<'a> {
    /// The user that programs run as, which the image has.
    pub(super) user: &'a str,
    /// Who may log in.
    pub(super) public_key: &'a str,
    /// Whether containers are run.
    pub(super) docker: Docker,
    /// Whether the user's programs may listen on the ports below 1024.
    pub(super) low_ports: bool,
    /// Whether routers may run: their packages are installed in virtual environments, which images of Ubuntu cannot make by
    /// themselves.
    pub(super) routers: bool,
}

/// What is done about Docker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Docker {
    /// Nothing needs it.
    No,
    /// It is in the image.
    InImage,
    /// It is installed.
    Install,
}

/// The file that lets every user's programs listen on the ports of the web.
const PORTS_FILE: &str = "/etc/sysctl.d/60-gabion.conf";

impl Setup<'_> {
    /// Writes the user data.
    pub(super) fn user_data(&self) -> String {
        let mut root = Mapping::new();
        let mut set = |key: &str, value: Yaml| root.insert(key.into(), value);
        let list = |items: &[&str]| Yaml::Sequence(items.iter().map(|item| Yaml::from(*item)).collect());
        set("ssh_pwauth", false.into());
        set("disable_root", true.into());
        set("users", list(&["default"]));
        set("ssh_authorized_keys", list(&[self.public_key]));
        let mut commands: Vec<Yaml> = Vec::new();
        if self.low_ports {
            let mut file = Mapping::new();
            file.insert("path".into(), PORTS_FILE.into());
            file.insert(
                "content".into(),
                "net.ipv4.ip_unprivileged_port_start = 80\n".into(),
            );
            file.insert("permissions".into(), "0644".into());
            set("write_files", Yaml::Sequence(vec![Yaml::Mapping(file)]));
            commands.push(list(&["sysctl", "-p", PORTS_FILE]));
        }
        let installed = [
            (self.docker == Docker::Install, "docker.io"),
            (self.routers, "python3-venv"),
        ];
        let packages: Vec<&str> = installed
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, name)| *name)
            .collect();
        if !packages.is_empty() {
            set("package_update", true.into());
            set("packages", list(&packages));
        }
        if self.docker != Docker::No {
            commands.push(list(&["usermod", "-aG", "docker", self.user]));
            commands.push(list(&["systemctl", "enable", "--now", "docker"]));
        }
        if !commands.is_empty() {
            set("runcmd", Yaml::Sequence(commands));
        }
        // Texts and lists of texts always have a written form.
        let text = serde_yaml::to_string(&Yaml::Mapping(root)).unwrap_or_default();
        format!("#cloud-config\n{text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA you: \"here\"";

    #[test]
    fn a_gateway_may_listen_on_the_ports_of_the_web() {
        let text = Setup {
            user: "ubuntu",
            public_key: KEY,
            docker: Docker::No,
            low_ports: true,
            routers: true,
        }
        .user_data();
        insta::assert_snapshot!(text, @r#"
        #cloud-config
        ssh_pwauth: false
        disable_root: true
        users:
        - default
        ssh_authorized_keys:
        - 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA you: "here"'
        write_files:
        - path: /etc/sysctl.d/60-gabion.conf
          content: |
            net.ipv4.ip_unprivileged_port_start = 80
          permissions: '0644'
        package_update: true
        packages:
        - python3-venv
        runcmd:
        - - sysctl
          - -p
          - /etc/sysctl.d/60-gabion.conf
        "#);
    }

    #[test]
    fn docker_is_installed_where_the_image_has_none() {
        let of = |docker| {
            let setup = Setup {
                user: "ubuntu",
                public_key: KEY,
                docker,
                low_ports: false,
                routers: false,
            };
            let text = setup.user_data();
            let read: Yaml = serde_yaml::from_str(&text).unwrap();
            (read["packages"].clone(), read["runcmd"].clone())
        };
        assert_eq!(of(Docker::No), (Yaml::Null, Yaml::Null));
        assert_eq!(of(Docker::InImage).0, Yaml::Null);
        assert_eq!(of(Docker::InImage).1, of(Docker::Install).1);
        assert_eq!(of(Docker::Install).0[0], Yaml::from("docker.io"));
    }
}
