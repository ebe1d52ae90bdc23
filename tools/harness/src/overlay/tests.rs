use dtoolkit::fdt::Fdt;
use dtoolkit::{Node as _, Property as _};

use super::{compile, read};

/// A file with this source, and what is made of it; `None` if there is no dtc.
fn by_file(name: &str, source: &str) -> Option<anyhow::Result<Vec<u8>>> {
    std::process::Command::new("dtc").arg("--version").output().ok()?;
    let path = std::env::temp_dir().join(format!("assay-overlay-{}-{name}.dtso", std::process::id()));
    std::fs::write(&path, source).unwrap();
    let blob = read(&path);
    std::fs::remove_file(&path).unwrap();
    Some(blob)
}

#[test]
fn labels_of_its_own_and_arithmetic_are_left_to_dtc_and_the_platforms_labels_are_named() {
    let source = "/dts-v1/; /plugin/; / { compatible = \"acme,board\"; };\n\
         &{/} { gpu: gpu { reg = <(1 << 4)>; }; user { memory-region = <&gpu>; }; };\n";
    let Some(blob) = by_file("own", source) else { return };
    let blob = blob.unwrap();
    assert_eq!(property(&blob, "/fragment@0/__overlay__/gpu", "reg"), 16u32.to_be_bytes());
    let source = "/dts-v1/; /plugin/; / { compatible = \"acme,board\"; };\n&gpu0 { assay,mte-capable; };\n";
    let error = format!("{:#}", by_file("platforms", source).unwrap().unwrap_err());
    assert!(error.contains("&gpu0: a label of the platform's tree") && error.contains("write the path"), "{error}");
    let error = format!("{:#}", by_file("wrong", "/dts-v1/; / { x = <(1 +)>; };").unwrap().unwrap_err());
    assert!(error.contains("line 1") && error.contains("dtc doesn't know either"), "{error}");
}

const SOURCE: &str = r#"/dts-v1/;
/plugin/;
/* Facts
   of a board. */
/ {
    compatible = "acme,board", "acme,other"; // both
    fragment@0 {
        target-path = "/reserved-memory";
        __overlay__ {
            gpu0-memory@70000000 {
                reg = <0 0x70000000>, <0 134217728>;
                assay,mte-capable;
                mac = [00 1f fe];
            };
        };
    };
};
"#;

fn property(blob: &[u8], path: &str, name: &str) -> Vec<u8> {
    let tree = Fdt::new(blob).unwrap();
    let node = tree.find_node(path).unwrap();
    node.property(name).unwrap().value().to_vec()
}

#[test]
fn nodes_and_each_kind_of_value_are_understood() {
    let blob = compile(SOURCE).unwrap();
    assert_eq!(property(&blob, "/", "compatible"), b"acme,board\0acme,other\0");
    let node = "/fragment@0/__overlay__/gpu0-memory@70000000";
    let cells = [0u32, 0x7000_0000, 0, 0x800_0000].map(u32::to_be_bytes);
    assert_eq!(property(&blob, node, "reg"), cells.as_flattened());
    assert_eq!(property(&blob, node, "assay,mte-capable"), b"");
    assert_eq!(property(&blob, node, "mac"), [0x00, 0x1f, 0xfe]);
}

#[test]
fn escapes_of_strings_are_those_of_c() {
    let blob = compile(r#"/ { a = "one\0two", "q\"\\\x41\n\101b"; };"#).unwrap();
    assert_eq!(property(&blob, "/", "a"), b"one\0two\0q\"\\A\nAb\0");
    for wrong in [r"\q", r"\400", r"\x"] {
        let error = compile(&format!("/ {{\n a = \"{wrong}\"; }};")).unwrap_err();
        assert!(format!("{error:#}").contains("line 2"), "{wrong}: {error:#}");
    }
    assert!(compile(r#"/ { a = "no end\"; };"#).is_err());
}

#[test]
fn the_short_form_of_a_fragment_is_the_long_one() {
    let long = "/ { compatible = \"b\"; fragment@0 { target-path = \"/a@1\"; __overlay__ { flag; }; }; };";
    let short = "/ { compatible = \"b\"; }; &{/a@1} { flag; };";
    assert_eq!(compile(short).unwrap(), compile(long).unwrap());
    let label = compile("/ { }; &gpu { };").unwrap_err();
    assert!(label.to_string().contains("&gpu"), "{label}");
}

#[test]
fn a_label_is_passed_over_and_a_reference_to_it_is_not_understood() {
    let plain = compile("/ { a { flag; }; };").unwrap();
    assert_eq!(compile("/ { one: two: a { flag; }; };").unwrap(), plain);
    let error = compile("/ { one: a { }; b = <&one>; };").unwrap_err();
    assert!(format!("{error:#}").contains("&one"), "{error:#}");
}

#[test]
fn what_is_not_understood_is_named_with_its_line() {
    for (from, to, line) in [
        ("gpu0-memory@70000000 {", "gpu:memory {", "line 10: gpu:"),
        ("134217728", "SIZE", "line 11: SIZE"),
        ("assay,mte-capable;", "assay,mte-capable", "line 13"),
        ("/plugin/;", "/include/ \"x\";", "line 2: /include/"),
        ("\"acme,other\"", "&acme", "line 6: &acme"),
    ] {
        let error = compile(&SOURCE.replace(from, to)).unwrap_err();
        let told = format!("{error:#}");
        assert!(told.contains(line), "{to}: {told}");
    }
}

#[test]
fn a_source_that_ends_early_is_an_error() {
    for end in 40..SOURCE.len() - 2 {
        assert!(compile(&SOURCE[..end]).is_err(), "{}", &SOURCE[..end]);
    }
}
