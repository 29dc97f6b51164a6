//! The SSH host key of a machine, as its console shows it.
//!
//! cloud-init makes the keys at the first start and prints the public ones between two lines on the console
//! (cloud-init, "SSH keys": `keys_to_console`). EC2 gives the console out over its own authenticated API, so that nobody on
//! the way to the machine can put another key in its place.

use std::time::Duration;

use aws_sdk_ec2::operation::get_console_output::GetConsoleOutputOutput;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gabion_engine::address::ObjectId;
use gabion_engine::provider::{Call, ErrorClass, ObjectState, ProviderError};
use gabion_engine::value::{Attributes, Value};

use crate::attributes::{text, truth};
use crate::clients::Clients;
use crate::error::Api;
use crate::wait;

/// Whether it is wanted.
pub(super) const WANTED: &str = "wait_for_host_key";
/// The key.
pub(super) const KEY: &str = "host_key";

const BEGIN: &str = "-----BEGIN SSH HOST KEY KEYS-----";
const END: &str = "-----END SSH HOST KEY KEYS-----";

/// The kinds of key, the preferred first.
const KINDS: [&str; 3] = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"];

/// How much longer than between two looks at a machine it is until the console is read again: each is a call of its own.
const PATIENCE: u32 = 3;

/// Returns whether inputs ask for the key.
pub(super) fn is_wanted(inputs: &Attributes) -> bool {
    truth(inputs, WANTED).unwrap_or_default()
}

/// Puts the key into what is known of a machine, as it is recorded; of one that was never seen, as the console shows it
/// now.
pub(super) async fn fill(
    clients: &Clients,
    state: &mut ObjectState,
    inputs: &Attributes,
    recorded: &Attributes,
) -> Result<(), ProviderError> {
    if !is_wanted(inputs) {
        return Ok(());
    }
    let key = match text(recorded, KEY) {
        Some(key) => Some(key.to_owned()),
        None => look(clients, &state.id).await?,
    };
    state
        .attributes
        .insert(KEY.into(), key.map_or(Value::Null, Value::from));
    Ok(())
}

/// Waits until the console shows the key of a machine that runs, and puts it into what is known of it.
pub(super) async fn wait_for(
    clients: &Clients,
    state: &mut ObjectState,
    inputs: &Attributes,
    recorded: &Attributes,
    call: &Call,
) -> Result<(), ProviderError> {
    fill(clients, state, inputs, recorded).await?;
    if !is_wanted(inputs) || text(&state.attributes, KEY).is_some() {
        return Ok(());
    }
    call.phase("read the host key");
    let id = state.id.clone();
    let pause: Duration = clients.looks.poll * PATIENCE;
    let key = wait::until(call, "the machine's console shows its SSH host key", || async {
        tokio::time::sleep(pause).await;
        look(clients, &id).await
    })
    .await
    .map_err(|error| match error.hint {
        None => error.with_hint(
            "see what the machine prints at its start (aws ec2 get-console-output); images whose cloud-init does not print \
             keys need `wait_for_host_key: false` and an entry in `known_hosts`",
        ),
        Some(_) => error,
    })?;
    state.attributes.insert(KEY.into(), Value::from(key));
    Ok(())
}

/// Looks once at the console.
async fn look(clients: &Clients, id: &ObjectId) -> Result<Option<String>, ProviderError> {
    let ask = |latest: bool| {
        let request = clients.ec2.get_console_output().instance_id(id.as_str());
        clients.call(Api::ec2("GetConsoleOutput"), request.latest(latest).send())
    };
    let answer = match ask(true).await {
        // Only machines of the Nitro system show the newest; of others there is what was printed at their start.
        Err(failed) if failed.is("UnsupportedOperation") => ask(false).await,
        answer => answer,
    }?;
    Ok(printed(&answer)?.as_deref().and_then(key_in))
}

fn printed(answer: &GetConsoleOutputOutput) -> Result<Option<String>, ProviderError> {
    let Some(encoded) = answer.output() else {
        return Ok(None);
    };
    let packed: String = encoded.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(packed).map_err(|error| {
        ProviderError::new(
            ErrorClass::Invalid,
            format!("EC2 gave a console that cannot be decoded (GetConsoleOutput): {error}."),
        )
    })?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Returns the best of the keys that were printed last. Lines may begin with a time or the name of a service.
fn key_in(console: &str) -> Option<String> {
    let (_, last) = console.rsplit_once(BEGIN)?;
    let (block, _) = last.split_once(END)?;
    KINDS.iter().find_map(|kind| {
        block.lines().find_map(|line| {
            let mut words = line.split_whitespace().skip_while(|word| word != kind);
            let (kind, body) = (words.next()?, words.next()?);
            STANDARD.decode(body).ok()?;
            Some(format!("{kind} {body}"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7";
    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn the_best_key_of_the_last_block_is_taken() {
        let console = format!(
            "[    0.0] Linux\r\n{BEGIN}\r\nssh-ed25519 AAAAold0 root@ip\r\n{END}\r\nlogin:\r\n[   21.3] cloud-init[812]: \
             {BEGIN}\r\n[   21.3] cloud-init[812]: {RSA} root@ip-10-0-0-7\r\n[   21.3] cloud-init[812]: {ED25519} \
             root@ip-10-0-0-7\r\n{END}\r\n"
        );
        assert_eq!(key_in(&console).as_deref(), Some(ED25519));
        let other = format!("{BEGIN}\n{RSA} root\n{END}\n");
        assert_eq!(key_in(&other).as_deref(), Some(RSA));
    }

    #[test]
    fn what_is_not_whole_is_no_key() {
        let half = format!("{BEGIN}\n{ED25519} root\n");
        for console in [
            "",
            "login: ",
            half.as_str(),
            &format!("{BEGIN}\nssh-ed25519 not*base64 root\n{END}"),
            &format!("{BEGIN}\nssh-ed25519\n{END}"),
        ] {
            assert_eq!(key_in(console), None, "{console}");
        }
    }
}
