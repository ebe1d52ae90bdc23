use std::path::{Path, PathBuf};

use super::Surroundings;

/// Folders that look like checkouts, removed at the end.
struct Places(PathBuf);

impl Places {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("assay-home-{}-{name}", std::process::id()));
        std::fs::create_dir_all(root.join("elsewhere")).unwrap();
        Self(root)
    }

    fn checkout(&self, name: &str) -> PathBuf {
        let top = self.0.join(name);
        for folder in ["hypervisor", "tools/xtask", "below"] {
            std::fs::create_dir_all(top.join(folder)).unwrap();
        }
        top
    }

    fn file(&self, path: &str) -> PathBuf {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        path
    }

    fn elsewhere(&self) -> Surroundings {
        Surroundings { here: self.0.join("elsewhere"), ..Surroundings::default() }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn top(surroundings: &Surroundings) -> PathBuf {
    surroundings.choose().unwrap().top().to_path_buf()
}

fn error(surroundings: &Surroundings) -> String {
    surroundings.choose().unwrap_err().to_string()
}

#[test]
fn what_is_said_in_the_program_comes_first_then_the_place_the_variable_the_source_and_the_cache() {
    let places = Places::new("order");
    let [given, here, named, source, built] =
        ["given", "here", "named", "source", "built"].map(|name| places.checkout(name));
    let mut all = Surroundings {
        given: Some(given.clone()),
        here: here.join("below"),
        variable: Some(named.clone()),
        source: source.clone(),
        built: Some((built.clone(), None)),
        target: None,
    };
    assert_eq!(top(&all), given);
    all.given = None;
    assert_eq!(top(&all), here);
    all.here = places.elsewhere().here;
    assert_eq!(top(&all), named);
    all.variable = None;
    assert_eq!(top(&all), source);
    // The one that has a firmware is of more use.
    places.file("built/target/assay/assay.img");
    assert_eq!(top(&all), built);
    places.file("source/target/assay/assay.img");
    assert_eq!(top(&all), source);
}

#[test]
fn what_is_no_checkout_is_refused_with_who_named_it_and_none_at_all_with_how_to_name_one() {
    let places = Places::new("none");
    let elsewhere = places.elsewhere();
    let nothing = Some(places.0.join("nothing"));
    let given = error(&Surroundings { given: nothing.clone(), ..elsewhere.clone() });
    assert!(given.contains("Builder::checkout") && given.contains("nothing"), "{given}");
    let named = error(&Surroundings { variable: nothing, ..elsewhere.clone() });
    assert!(named.contains("ASSAY_HOME names") && named.contains("nothing"), "{named}");
    // A checkout that was built and has gone is as if it had never been.
    let gone = Surroundings { built: Some((places.0.join("gone"), None)), ..elsewhere };
    let gone = error(&gone);
    for word in ["ASSAY_HOME", "Builder::checkout", "cargo xtask build", "elsewhere"] {
        assert!(gone.contains(word), "{gone}");
    }
}

#[test]
fn from_elsewhere_another_crates_target_folder_comes_last() {
    let places = Places::new("target");
    let named = places.checkout("named");
    let elsewhere =
        Surroundings { variable: Some(named.clone()), target: Some(places.0.join("mine")), ..places.elsewhere() };
    let home = elsewhere.choose().unwrap();
    let missing = home.image().unwrap_err().to_string();
    let own = named.join("target/assay/assay.img");
    assert!(missing.contains(&own.display().to_string()) && missing.contains("cargo xtask build"), "{missing}");
    let shared = places.file("mine/assay/assay.img");
    assert_eq!(home.image().unwrap(), shared);
    places.file("named/target/assay/assay.img");
    assert_eq!(home.image().unwrap(), own);
    // The last build went to a third place.
    let third = places.file("third/assay/assay.img");
    let home = Surroundings { built: Some((named, Some(places.0.join("third")))), ..elsewhere }.choose().unwrap();
    assert_eq!(home.image().unwrap(), third);
}

#[test]
fn in_a_checkout_things_are_where_cargo_puts_them() {
    let places = Places::new("inside");
    let here = places.checkout("here");
    let release = |folder: &str| format!("{folder}/aarch64-unknown-none-softfloat/release/hello");
    let inside = places.file(&release("here/guests/target"));
    let outside = places.file(&release("mine/guests"));
    places.file("here/target/assay/assay.img");
    let mut surroundings = Surroundings { here, ..Surroundings::default() };
    assert_eq!(surroundings.choose().unwrap().program("hello").unwrap(), inside);
    surroundings.target = Some(places.0.join("mine"));
    let home = surroundings.choose().unwrap();
    assert_eq!(home.program("hello").unwrap(), outside);
    // An old one of the other folder is not taken for it.
    assert!(home.image().is_err());
}

#[test]
fn the_librarys_own_source_is_a_checkout() {
    let source = Surroundings::look(None).unwrap().source;
    assert!(super::is_top(&source) && source.join("tools/harness/src").is_dir(), "{}", source.display());
    assert!(!source.components().any(|part| part.as_os_str() == ".."), "{}", source.display());
    assert_eq!(super::above(Path::new("/")), None);
}
