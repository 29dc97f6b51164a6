//! Names, values and paths reach a program on a machine byte for byte, and nothing on the way executes them.

use std::sync::Arc;

use gabion_engine::value::Value;

use crate::scene::{
    HOST, Sink, address, call, create, delete, eventually, hosts, inputs, key_of, new_uid, provider,
    recorded, sshd,
};

const HOSTILE: [&str; 12] = [
    "it's",
    "\"quoted\"",
    "two\nlines\n",
    "$(touch /tmp/gabion-hostile-1)",
    "`touch /tmp/gabion-hostile-2`",
    "; touch /tmp/gabion-hostile-3 #",
    "-oProxyCommand=touch /tmp/gabion-hostile-4",
    "--",
    "ünïcödé 🦫 \u{202e}",
    "\\n\\0 \\\\",
    "tab\tand\rreturn",
    "",
];

#[tokio::test(flavor = "multi_thread")]
async fn arguments_environment_and_files_arrive_byte_for_byte() {
    let Some(server) = sshd() else { return };
    let directory = tempfile::tempdir().unwrap();
    let machines = hosts(address(&server, key_of(&server)));
    let provider = provider(&machines, directory.path());
    let script = "import json,os,sys,time\n\
        file = open('a b\\'\"$(x)\\n.txt', newline='').read()\n\
        env = [os.environ['E%d' % i] for i in range(int(os.environ['COUNT']))]\n\
        print(json.dumps([sys.argv[1:], env, file]), flush=True)\n\
        time.sleep(600)\n";
    let mut argv: Vec<Value> = vec!["python3".into(), "-c".into(), script.into()];
    argv.extend(HOSTILE.map(Value::from));
    let mut env: Vec<(String, Value)> = vec![("COUNT".to_owned(), HOSTILE.len().to_string().into())];
    env.extend(
        HOSTILE
            .iter()
            .enumerate()
            .map(|(index, text)| (format!("E{index}"), Value::from(*text))),
    );
    let content = HOSTILE.join("|");
    let inputs = inputs(vec![
        ("argv", Value::List(argv)),
        (
            "env",
            Value::Map(
                env.into_iter()
                    .map(|(name, value)| (name.into(), value))
                    .collect(),
            ),
        ),
        (
            "files",
            Value::map([("a b'\"$(x)\n.txt", Value::from(content.as_str()))]),
        ),
        ("stop_timeout", Value::Int(2)),
    ]);
    let (uid, sink) = (new_uid(), Arc::new(Sink::default()));
    let state = create(&provider, &inputs, &call(uid, 1, &sink)).await.unwrap();
    let line = eventually("it says what it got", async || {
        let log = machines.tail(HOST, uid.to_string(), 10).await.unwrap();
        log.ends_with('\n').then_some(log)
    })
    .await;
    let said: (Vec<String>, Vec<String>, String) =
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(said.0, HOSTILE);
    assert_eq!(said.1, HOSTILE);
    assert_eq!(said.2, content);
    for index in 1..=4 {
        assert!(!std::path::Path::new(&format!("/tmp/gabion-hostile-{index}")).exists());
    }
    delete(
        &provider,
        recorded(uid, &inputs, Some(&state)),
        &call(uid, 1, &sink),
    )
    .await
    .unwrap();
}
