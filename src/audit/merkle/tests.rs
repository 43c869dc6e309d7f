//! The tree against the reference vectors of certificate transparency and against its definition.

use proptest::prelude::*;

use super::*;

/// The eight leaves of the reference implementation's tests.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

const L1: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
const N23: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
const N47: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
const L4: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
const N67: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
const N45: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn hash(hex: &str) -> Hash {
    bytes(hex).try_into().unwrap()
}

fn reference() -> Tree {
    let mut tree = Tree::default();
    LEAVES.iter().for_each(|leaf| tree.push(leaf_hash(&bytes(leaf))));
    tree
}

#[test]
fn the_reference_roots_come_out() {
    let tree = reference();
    for (size, root) in ROOTS.iter().enumerate() {
        assert_eq!(tree.root(size as u64), Ok(hash(root)), "size {size}");
    }
    assert_eq!(tree.root(9), Err(OutOfRange));
}

#[test]
fn the_reference_inclusion_proofs_come_out() {
    let tree = reference();
    let rows: [(u64, u64, &[&str]); 5] = [
        (0, 1, &[]),
        (0, 8, &[L1, N23, N47]),
        (5, 8, &[L4, N67, ROOTS[4]]),
        (2, 3, &[ROOTS[2]]),
        (1, 5, &[ROOTS[1], N23, L4]),
    ];
    for (index, size, path) in rows {
        let path: Vec<Hash> = path.iter().map(|hex| hash(hex)).collect();
        assert_eq!(tree.inclusion(index, size).unwrap(), path, "{index} of {size}");
    }
    assert_eq!(tree.inclusion(8, 8), Err(OutOfRange));
}

#[test]
fn the_reference_consistency_proofs_come_out() {
    let tree = reference();
    let rows: [(u64, u64, &[&str]); 4] =
        [(1, 1, &[]), (1, 8, &[L1, N23, N47]), (6, 8, &[N45, N67, ROOTS[4]]), (2, 5, &[N23, L4])];
    for (from, to, path) in rows {
        let path: Vec<Hash> = path.iter().map(|hex| hash(hex)).collect();
        assert_eq!(tree.consistency(from, to).unwrap(), path, "{from} to {to}");
    }
    assert_eq!(tree.consistency(0, 8), Err(OutOfRange));
    assert_eq!(tree.consistency(5, 4), Err(OutOfRange));
}

/// The definition, leaf by leaf.
fn defined_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        leaves => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&defined_root(left), &defined_root(right))
        }
    }
}

proptest! {
    #[test]
    fn every_proof_holds_and_no_altered_one_does(size in 1_u64..200, pick in 0_u64..200, flip in 0_usize..100_000) {
        let leaves: Vec<Hash> = (0..size).map(|at| leaf_hash(&at.to_le_bytes())).collect();
        let mut tree = Tree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        let root = tree.root(size).unwrap();
        prop_assert_eq!(root, defined_root(&leaves));
        let index = pick % size;
        let leaf = leaves[index as usize];
        let path = tree.inclusion(index, size).unwrap();
        prop_assert!(includes(&leaf, index, size, &path, &root));
        prop_assert!(path.len() <= 8);
        let old = index + 1;
        let old_root = tree.root(old).unwrap();
        prop_assert_eq!(old_root, defined_root(&leaves[..old as usize]));
        let step = tree.consistency(old, size).unwrap();
        prop_assert!(extends(old, &old_root, size, &root, &step));
        for other in (0..size).filter(|other| *other != index) {
            prop_assert!(!includes(&leaf, other, size, &path, &root));
        }
        let mut long = path.clone();
        long.push(root);
        prop_assert!(!includes(&leaf, index, size, &long, &root));
        for (path, inclusion) in [(path, true), (step, false)] {
            if path.is_empty() {
                continue;
            }
            let mut altered = path.clone();
            let bit = flip % (path.len() * 256);
            altered[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
            let (altered_holds, short_holds) = if inclusion {
                (includes(&leaf, index, size, &altered, &root), includes(&leaf, index, size, &path[1..], &root))
            } else {
                (
                    extends(old, &old_root, size, &root, &altered),
                    extends(old, &old_root, size, &root, &path[1..]),
                )
            };
            prop_assert!(!altered_holds && !short_holds);
        }
    }
}
