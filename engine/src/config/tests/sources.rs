use std::fs;
use std::path::Path;

use insta::assert_snapshot;

use super::super::{DocumentRegistry, LowerInputs, NothingRecorded, Purpose, Sources, load, no_secrets};

/// Makes a project directory, runs, and hides the directory's own name.
fn with_files(files: &[(&str, &[u8])], run: impl FnOnce(&Path) -> String) -> String {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let text = run(directory.path());
    let canonical = fs::canonicalize(directory.path()).unwrap();
    text.replace(&*canonical.to_string_lossy(), "DIR")
        .replace(&*directory.path().to_string_lossy(), "DIR")
}

fn problems(files: &[(&str, &[u8])]) -> String {
    with_files(files, |directory| Sources::load(directory).1.to_string())
}

#[test]
fn the_projects_files_are_those_of_the_directory_itself() {
    let all: [(&str, &[u8]); 10] = [
        ("gabion.yml", b""),
        (".dstack.yml", b"a"),
        ("a.dstack.yaml", b"b"),
        ("b.gabion.yml", b"\xef\xbb\xbfc"),
        ("c.gabion.yaml", b"d"),
        ("values.yml", b""),
        (".#b.gabion.yml", b""),
        ("sub/d.gabion.yml", b""),
        ("dir.gabion.yml/x", b""),
        ("b.gabion.yml~", b""),
    ];
    let found = with_files(&all, |directory| {
        let (sources, problems) = Sources::load(directory);
        assert!(problems.is_empty(), "{problems}");
        assert_eq!(sources.settings().unwrap().path(), "gabion.yml");
        assert_eq!(sources.file("b.gabion.yml").unwrap().text(), "c");
        sources
            .files()
            .map(|file| file.path())
            .collect::<Vec<_>>()
            .join(" ")
    });
    assert_eq!(found, ".dstack.yml a.dstack.yaml b.gabion.yml c.gabion.yaml");
}

#[test]
fn a_directory_without_configuration_says_what_to_do() {
    let all = [
        problems(&[]),
        problems(&[("qwen.yml", b"type: service")]),
        problems(&[("infra/qwen.dstack.yml", b"type: service")]),
        with_files(&[], |directory| {
            Sources::load(&directory.join("missing")).1.to_string()
        }),
    ];
    assert_snapshot!(all.join("\n"), @r"
    error: no configuration
       `DIR` holds no `*.gabion.yml`, `*.dstack.yml` or `gabion.yml`.
    hint: make a new project: `gabion init`

    error: no configuration
       `DIR` holds no `*.gabion.yml`, `*.dstack.yml` or `gabion.yml`.
    hint: rename the file if it is meant: `mv qwen.yml qwen.gabion.yml`; or make a new project: `gabion init`

    error: no configuration
       `DIR` holds no `*.gabion.yml`, `*.dstack.yml` or `gabion.yml`.
    hint: `infra` is a project: `gabion -C DIR/infra`

    error: cannot read the project directory
       `DIR/missing`: No such file or directory (os error 2).
    hint: name the project directory: `gabion -C DIR …`
    ");
}

#[test]
fn files_that_are_no_text_are_refused_with_the_byte() {
    let latin = b"type: service\nname: caf\xe9 \xe9\n";
    assert_snapshot!(problems(&[
        ("a.dstack.yml", latin),
        ("b.dstack.yml", b"\xff\xfet\0y\0"),
        ("gabion.yml", b""),
        ("gabion.yaml", b""),
    ]), @r"
    error: file is not UTF-8
      --> a.dstack.yml:2:10
    2 | name: caf� �
      |          ^
       The byte 0xe9 here is not UTF-8.
    hint: save the file as UTF-8

    error: file is not UTF-8
      --> b.dstack.yml:1:1
    1 | ��t y 
      | ^
       The byte 0xff here is not UTF-8.
    hint: this is UTF-16; save the file as UTF-8

    error: two settings files
      --> gabion.yml:1:1
       The project has both `gabion.yaml` and `gabion.yml`.
    hint: keep one of them
    ");
}

#[test]
fn what_was_not_read_is_not_blamed_on_references() {
    let text = with_files(
        &[
            (
                "a.gabion.yml",
                b"type: resource\nkind: gabion_data\nname: a\nproperties: {x: '${{ gabion_data.b.y }}'}\n",
            ),
            ("b.gabion.yml", b"\xff"),
        ],
        |directory| {
            let registry = DocumentRegistry::new();
            let inputs = LowerInputs {
                purpose: Purpose::Plan,
                registry: &registry,
                recorded: &NothingRecorded,
                environment: &|_| None,
                secret: &no_secrets,
                version: "0.1.0",
            };
            load(directory, inputs).2.to_string()
        },
    );
    assert_snapshot!(text, @r"
    error: file is not UTF-8
      --> b.gabion.yml:1:1
    1 | �
      | ^
       The byte 0xff here is not UTF-8.
    hint: save the file as UTF-8
    ");
}

#[test]
fn a_file_named_by_f_must_be_one_of_the_projects() {
    let text = with_files(
        &[
            ("gabion.yml", b""),
            ("a.gabion.yml", b""),
            ("service.yml", b""),
            ("sub/b.gabion.yml", b""),
        ],
        |directory| {
            let (sources, _) = Sources::load(directory);
            let select = |file: &str| match sources.select(&directory.join(file)) {
                Ok(path) => format!("{path}\n"),
                Err(problem) => problem.to_string(),
            };
            let files = [
                "a.gabion.yml",
                "sub/../a.gabion.yml",
                "service.yml",
                "sub/b.gabion.yml",
                "gabion.yml",
                "a.gabon.yml",
            ];
            files.map(select).join("\n") + &sources.select(Path::new("a.gabion.yml")).unwrap()
        },
    );
    assert_snapshot!(text, @r"
    a.gabion.yml

    a.gabion.yml

    error: file is not part of the project
       `DIR/service.yml` lies in the project directory, but only `*.gabion.yml` and `*.dstack.yml` belong to it: a later run over the whole directory would plan the deletion of what it holds.
    hint: mv DIR/service.yml DIR/service.gabion.yml

    error: file is not part of the project
       `DIR/sub/b.gabion.yml` is not in the project directory `DIR`: a later run over the whole directory would plan the deletion of what it holds.
    hint: gabion -C DIR/sub -f b.gabion.yml …

    error: file is not part of the project
       `DIR/gabion.yml` holds the project's settings and no documents.
    hint: the files with documents are `a.gabion.yml`

    error: file is not part of the project
       There is no file `DIR/a.gabon.yml`.
    hint: did you mean `a.gabion.yml`?
    a.gabion.yml
    ");
}
