//! Virtio devices between VMs: whose RAM who sees, and what is wrong with a device.

use std::format;
use std::string::String;
use std::vec::Vec;

use assay_model::virtio::Kind;
use assay_spec::addr::{Ipa, Region};

use super::{mte, platform, resolve, trouble, vm, vms, world};
use crate::claims::served_by;
use crate::policy::{Mte, Rule};
use crate::space::{Backing, HEAD};

fn device(name: &str, kind: &str, backend: &str) -> String {
    format!(
        r#"virtio-{name} {{
            compatible = "assay,virtio"; assay,name = "{name}"; assay,type = "{kind}"; assay,backend = "{backend}";
        }};"#
    )
}

fn with(name: &str, properties: &str, devices: &[String]) -> String {
    vm(name, properties, &[]).replacen("kernel {", &(devices.concat() + "kernel {"), 1)
}

#[test]
fn a_backend_sees_all_ram_of_each_client_once_and_never_executes_it() {
    let machine = platform("", "");
    let vms = vms(&[
        with("back", "", &[]),
        with("one", "", &[device("disk0", "block", "back"), device("net0", "net", "back")]),
        with("two", "", &[device("tty", "console", "back")]),
    ]);
    let world = world(&machine, &vms, mte());
    let claims = resolve(&world);
    assert!(claims.iter().all(|claims| claims.starts()), "{claims:?}");
    let lent: Vec<_> = claims[0].rows.iter().filter(|row| matches!(row.backing, Backing::Lent(_))).collect();
    assert_eq!(lent.iter().map(|row| row.region).collect::<Vec<_>>(), ["one", "two"]);
    for (row, client) in lent.iter().zip(&vms[1..]) {
        let decision = row.outcome.unwrap();
        assert!(!decision.exec && decision.mte == Mte::Hidden);
        assert_eq!(row.ipa.unwrap().size, client.memory_bytes + HEAD);
    }
    let [one, two] = [lent[0].ipa.unwrap(), lent[1].ipa.unwrap()];
    assert!(!one.overlaps(&two) && one.start.0.is_multiple_of(HEAD));
    let mapping = lent[0].granted().unwrap();
    assert_eq!(mapping.head(), Some(Region { start: one.start, size: HEAD }));
    assert!(claims[1..].iter().all(|claims| claims.rows.len() == 1), "a client gets nothing of its backend's");
    let served: Vec<_> = served_by(&vms, &vms[0]).map(|(vm, device)| (vm.name.as_str(), device.kind)).collect();
    assert_eq!(served, [("one", Kind::Block), ("one", Kind::Net), ("two", Kind::Console)]);
}

#[test]
fn what_cannot_be_is_refused_and_the_backend_starts() {
    let machine = platform("", "");
    let five: Vec<String> = ["a", "b", "c", "d", "e"].map(|name| device(name, "net", "back")).into();
    let twice = [device("a", "net", "back"), device("a", "block", "back").replacen("virtio-a", "virtio-b", 1)];
    for (devices, properties, told) in [
        (
            [device("a", "block", "nobody")].as_slice(),
            "",
            "the backend of virtio device a is nobody, and no VM has that name",
        ),
        (&[device("a", "block", "client")], "", "the backend of virtio device a is the VM itself"),
        (&twice, "", "two virtio devices of the VM are named a"),
        (&five, "", "virtio device e is the VM's fifth, and there are 4"),
        (&[device("a", "block", "back")], "assay,memory-ipa = <0 0x80001000>;", "that is not of whole 2 MiB"),
    ] {
        let vms = vms(&[with("back", "", &[]), with("client", properties, devices)]);
        let world = world(&machine, &vms, mte());
        let claims = resolve(&world);
        assert!(claims[0].starts() && !claims[1].starts(), "{told}");
        let refusals = claims[1].refusals();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        assert!(refusals[0].reason.contains(told), "{}", refusals[0].reason);
    }
}

#[test]
fn vms_that_would_wait_for_each_other_are_all_refused_and_each_is_told_of_the_next() {
    let machine = platform("", "");
    let ring = |backends: &[&str]| {
        let one =
            |(at, backend): (usize, &&str)| with(&format!("vm{at}"), "", &[device(&format!("d{at}"), "net", backend)]);
        vms(&backends.iter().enumerate().map(one).collect::<Vec<_>>())
    };
    let told = |vms: &[crate::vm_tree::VmConfig]| -> Vec<String> {
        let world = world(&machine, vms, mte());
        resolve(&world)
            .iter()
            .map(|claims| claims.refusals().first().map_or(String::new(), |it| it.reason.clone()))
            .collect()
    };
    let two = told(&ring(&["vm1", "vm0"]));
    assert_eq!(
        two,
        [
            "the backend of virtio device d0 is VM vm1, which would wait for this VM in turn: the backend of its virtio device d1 is vm0",
            "the backend of virtio device d1 is VM vm0, which would wait for this VM in turn: the backend of its virtio device d0 is vm1",
        ]
    );
    let three = told(&ring(&["vm1", "vm2", "vm0"]));
    assert!(three.iter().all(|told| told.contains("would wait for this VM in turn")), "{three:?}");
    // A chain ends somewhere; and who has a device of a ring's is in none.
    let chain = [
        with("vm0", "", &[device("d0", "net", "vm1")]),
        with("vm1", "", &[device("d1", "net", "end")]),
        with("end", "", &[]),
    ];
    assert_eq!(told(&vms(&chain)), ["", "", ""]);
    let beside = told(&ring(&["vm1", "vm0", "vm0"]));
    assert!(!beside[0].is_empty() && !beside[1].is_empty() && beside[2].is_empty(), "{beside:?}");
}

#[test]
fn a_backend_with_tags_has_only_clients_with_tags() {
    let machine = platform("", "");
    for (back, client, starts) in
        [("assay,mte;", "", false), ("assay,mte;", "assay,mte;", true), ("", "assay,mte;", true)]
    {
        let vms = vms(&[with("back", back, &[]), with("client", client, &[device("a", "block", "back")])]);
        let world = world(&machine, &vms, mte());
        let claims = resolve(&world);
        assert_eq!(claims[1].starts(), starts, "{back} {client}");
        assert!(claims[0].starts());
        let row = claims[0].rows.last().unwrap();
        let exposed = !back.is_empty();
        assert_eq!(row.outcome.unwrap().mte == Mte::Exposed, exposed, "{back} {client}");
        if exposed {
            assert_eq!(row.outcome.unwrap().rule, Rule::M1);
        }
    }
}

#[test]
fn a_backend_of_nine_devices_is_refused() {
    let machine = platform("", "");
    let devices = |prefix: &str, count: usize| -> Vec<String> {
        (0..count).map(|number| device(&format!("{prefix}{number}"), "net", "back")).collect()
    };
    let clients =
        [with("one", "", &devices("a", 4)), with("two", "", &devices("b", 4)), with("three", "", &devices("c", 1))];
    for (count, starts) in [(2, true), (3, false)] {
        let vms = vms(&[&[with("back", "", &[])], &clients[..count]].concat());
        let world = world(&machine, &vms, mte());
        let claims = resolve(&world);
        assert_eq!(claims[0].starts(), starts);
        if !starts {
            assert!(trouble(&claims[0]).0.contains("9 PCI functions, and there are 8"));
        }
    }
}

#[test]
fn a_vm_with_faces_keeps_its_memory_out_of_where_pci_is() {
    let machine = platform("", "");
    let vms = vms(&[
        with("back", "assay,memory-ipa = <0 0x20000000>;", &[]),
        with("client", "", &[device("a", "block", "back")]),
    ]);
    let world = world(&machine, &vms, mte());
    let claims = resolve(&world);
    assert_eq!(vms[0].memory_ipa, Ipa(0x2000_0000));
    assert!(trouble(&claims[0]).0.contains("overlaps its devices"), "{:?}", trouble(&claims[0]));
}
