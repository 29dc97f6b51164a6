//! An ordered map of which a copy costs nothing: copies share what they have in common.
//!
//! State is published after every commit while readers hold earlier ones, so a commit must cost what it changes and not
//! what is recorded. It is a B+ tree: a state has an entry or two for each of a million objects, and a node for each of
//! them would take several times the room of the entries.

use std::fmt;
use std::slice;
use std::sync::Arc;

/// How many entries a leaf, and how many children a branch has at most. A change copies the nodes on the way to it, so
/// wider ones make changes dearer; narrower ones take more room.
const WIDTH: usize = 32;
/// Below how many entries or children a node is joined with one beside it, if they fit into one.
const FEW: usize = WIDTH / 4;

/// An ordered map whose `clone` is constant time and whose changes copy only the path to what they change.
#[derive(Clone)]
pub struct SharedMap<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

/// A node. All leaves are equally deep, and none but the root is empty.
#[derive(Clone)]
enum Node<K, V> {
    /// Entries in the order of their keys.
    Leaf(Vec<(K, V)>),
    /// Children in the order of their keys, never none, each with a key that none of its own is below and all of those
    /// before it are. The first child's key says nothing: it also takes those that are below it.
    Branch(Vec<Child<K, V>>),
}

type Child<K, V> = (K, Arc<Node<K, V>>);

/// What [`SharedMap::iter`] returns.
struct Iter<'a, K, V> {
    /// What is left of the branches on the way to the leaf.
    branches: Vec<slice::Iter<'a, Child<K, V>>>,
    /// What is left of the leaf.
    leaf: slice::Iter<'a, (K, V)>,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self {
            root: Arc::new(Node::Leaf(Vec::new())),
            len: 0,
        }
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Returns the value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = find(entries, key).ok()?;
                    return Some(&entries[at].1);
                }
                Node::Branch(children) => node = &children[towards(children, key)].1,
            }
        }
    }

    /// Returns the value of a key for changing; it is copied first if another map shares it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        if !self.contains_key(key) {
            return None;
        }
        let mut node = Arc::make_mut(&mut self.root);
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = find(entries, key).ok()?;
                    return Some(&mut entries[at].1);
                }
                Node::Branch(children) => {
                    let at = towards(children, key);
                    node = Arc::make_mut(&mut children[at].1);
                }
            }
        }
    }

    /// Returns whether a key is there.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        let (is_new, split) = Arc::make_mut(&mut self.root).insert(key, value, true);
        self.len += usize::from(is_new);
        if let Some(right) = split {
            let left = (self.root.lowest().clone(), self.root.clone());
            self.root = Arc::new(Node::Branch(vec![left, right]));
        }
    }

    /// Removes a key and returns whether it was there.
    pub fn remove(&mut self, key: &K) -> bool {
        if !self.contains_key(key) {
            return false;
        }
        self.len -= 1;
        Arc::make_mut(&mut self.root).remove(key);
        while let Node::Branch(children) = &*self.root
            && let [(_, only)] = &children[..]
        {
            self.root = only.clone();
        }
        true
    }

    /// Returns how many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        Iter::of(&self.root)
    }

    /// Returns the keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// Returns the values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

fn find<K: Ord, V>(entries: &[(K, V)], key: &K) -> Result<usize, usize> {
    entries.binary_search_by(|(own, _)| own.cmp(key))
}

/// Returns the position of the child that a key belongs to.
fn towards<K: Ord, V>(children: &[Child<K, V>], key: &K) -> usize {
    // The first child's key says nothing: what is below it belongs there too.
    children[1..].partition_point(|(lowest, _)| lowest <= key)
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    /// Sets the value of a key below this node. Returns whether the key is new and, when the node had no room for it,
    /// the part that is to stand beside it. `last` says that nothing in the map is above this node.
    fn insert(&mut self, key: K, value: V, last: bool) -> (bool, Option<Child<K, V>>) {
        match self {
            Self::Leaf(entries) => match find(entries, &key) {
                Ok(at) => {
                    entries[at].1 = value;
                    (false, None)
                }
                Err(at) => {
                    let split = insert_at(entries, at, (key, value), last);
                    let right = split.map(|right| (right[0].0.clone(), Arc::new(Self::Leaf(right))));
                    (true, right)
                }
            },
            Self::Branch(children) => {
                let at = towards(children, &key);
                let last = last && at + 1 == children.len();
                let (is_new, split) = Arc::make_mut(&mut children[at].1).insert(key, value, last);
                let split = split.and_then(|child| insert_at(children, at + 1, child, last));
                let right = split.map(|right| (right[0].0.clone(), Arc::new(Self::Branch(right))));
                (is_new, right)
            }
        }
    }

    /// Removes a key that is below this node.
    fn remove(&mut self, key: &K) {
        match self {
            Self::Leaf(entries) => {
                if let Ok(at) = find(entries, key) {
                    entries.remove(at);
                }
            }
            Self::Branch(children) => {
                let at = towards(children, key);
                Arc::make_mut(&mut children[at].1).remove(key);
                match children[at].1.len() {
                    0 => drop(children.remove(at)),
                    1..FEW => join_beside(children, at),
                    _ => {}
                }
            }
        }
    }
}

impl<K, V> Node<K, V> {
    /// Returns a key of this node, to stand for it where it is the first child.
    fn lowest(&self) -> &K {
        match self {
            Self::Leaf(entries) => &entries[0].0,
            Self::Branch(children) => &children[0].0,
        }
    }

    /// Returns how many entries or children it has.
    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Branch(children) => children.len(),
        }
    }
}

/// Inserts one among others; when they would be too many, returns those that are to stand apart, after them.
///
/// Keys that are added in their order fill every node: behind what is `last`, a new node begins with the new one alone.
fn insert_at<T>(all: &mut Vec<T>, at: usize, new: T, last: bool) -> Option<Vec<T>> {
    if all.len() < WIDTH {
        all.insert(at, new);
        return None;
    }
    if last && at == WIDTH {
        return Some(vec![new]);
    }
    let mut right = all.split_off(WIDTH / 2);
    match at.checked_sub(WIDTH / 2) {
        Some(at) => right.insert(at, new),
        None => all.insert(at, new),
    }
    Some(right)
}

/// Joins a child with the one before or after it, if both fit into one node.
fn join_beside<K: Clone, V: Clone>(children: &mut Vec<Child<K, V>>, at: usize) {
    let fits = |left: usize| {
        let pair = children.get(left..left + 2);
        pair.is_some_and(|pair| pair[0].1.len() + pair[1].1.len() <= WIDTH)
    };
    let Some(left) = [at.checked_sub(1), Some(at)]
        .into_iter()
        .flatten()
        .find(|left| fits(*left))
    else {
        return;
    };
    let (lowest, right) = children.remove(left + 1);
    match (Arc::make_mut(&mut children[left].1), Arc::unwrap_or_clone(right)) {
        (Node::Leaf(own), Node::Leaf(others)) => own.extend(others),
        (Node::Branch(own), Node::Branch(mut others)) => {
            // Its first child took all that belonged to the node.
            others[0].0 = lowest;
            own.extend(others);
        }
        _ => unreachable!("all leaves are equally deep"),
    }
}

impl<'a, K, V> Iter<'a, K, V> {
    fn of(root: &'a Node<K, V>) -> Self {
        let mut iter = Self {
            branches: Vec::new(),
            leaf: [].iter(),
        };
        iter.enter(root);
        iter
    }

    fn enter(&mut self, node: &'a Node<K, V>) {
        match node {
            Node::Leaf(entries) => self.leaf = entries.iter(),
            Node::Branch(children) => self.branches.push(children.iter()),
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            match self.branches.last_mut()?.next() {
                Some((_, child)) => self.enter(child),
                None => drop(self.branches.pop()),
            }
        }
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && (Arc::ptr_eq(&self.root, &other.root) || Iter::of(&self.root).eq(Iter::of(&other.root)))
    }
}

impl<K: Eq, V: Eq> Eq for SharedMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(Iter::of(&self.root)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Map = SharedMap<u32, u32>;

    /// Checks what is true of every node, and returns how deep it is and how many nodes there are.
    fn check_node(
        node: &Node<u32, u32>,
        from: Option<u32>,
        to: Option<u32>,
        is_root: bool,
    ) -> (usize, usize) {
        assert!(node.len() <= WIDTH);
        assert!(is_root || node.len() > 0);
        match node {
            Node::Leaf(entries) => {
                assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
                assert!(
                    entries
                        .iter()
                        .all(|(key, _)| from.is_none_or(|from| from <= *key))
                );
                assert!(entries.iter().all(|(key, _)| to.is_none_or(|to| *key < to)));
                (1, 1)
            }
            Node::Branch(children) => {
                assert!(!is_root || children.len() > 1);
                assert!(children[1..].is_sorted_by(|a, b| a.0 < b.0));
                let mut below = Vec::new();
                for (at, (lowest, child)) in children.iter().enumerate() {
                    let from = if at == 0 { from } else { Some(*lowest) };
                    let to = children.get(at + 1).map_or(to, |(next, _)| Some(*next));
                    below.push(check_node(child, from, to, false));
                }
                assert!(below.iter().all(|(depth, _)| *depth == below[0].0));
                let nodes: usize = below.iter().map(|(_, nodes)| nodes).sum();
                (below[0].0 + 1, nodes + 1)
            }
        }
    }

    fn check(map: &Map, model: &BTreeMap<u32, u32>) {
        check_node(&map.root, None, None, true);
        assert_eq!(map.len(), model.len());
        assert!(map.iter().eq(model.iter()));
        assert!(map.keys().eq(model.keys()));
        assert!(map.values().eq(model.values()));
    }

    /// Numbers without a pattern, the same in every run.
    fn numbers() -> impl Iterator<Item = u32> {
        let mut state = 1_u64;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from(state >> 40).unwrap()
        })
    }

    #[test]
    fn it_holds_what_a_plain_map_holds_through_any_changes() {
        let mut numbers = numbers();
        let mut next = |below: u32| numbers.next().unwrap() % below;
        let (mut map, mut model) = (Map::default(), BTreeMap::new());
        // Mostly insertions, then mostly removals, until nothing is left.
        for insertions in [9, 5, 1, 8, 0] {
            for round in 0..4000 {
                let key = next(3000);
                if next(10) < insertions {
                    map.insert(key, round);
                    model.insert(key, round);
                } else {
                    assert_eq!(map.remove(&key), model.remove(&key).is_some());
                }
                let asked = next(3000);
                assert_eq!(map.get(&asked), model.get(&asked));
                assert_eq!(map.contains_key(&asked), model.contains_key(&asked));
                assert_eq!(map.get_mut(&asked), model.get_mut(&asked));
                if round % 500 == 0 {
                    check(&map, &model);
                }
            }
            check(&map, &model);
        }
        for key in model.keys().copied().collect::<Vec<_>>() {
            assert!(map.remove(&key));
        }
        assert!(map.is_empty());
        assert_eq!(map, Map::default());
    }

    #[test]
    fn a_copy_stays_as_it_was_while_the_other_is_changed() {
        let first: Map = (0..5000).map(|key| (key * 2, key)).collect();
        let mut second = first.clone();
        assert_eq!(first, second);
        for key in (0..10_000).step_by(3) {
            match key % 4 {
                0 => second.insert(key, 7),
                1 => drop(second.remove(&(key - 1))),
                _ => {
                    if let Some(value) = second.get_mut(&key) {
                        *value = 9;
                    }
                }
            }
        }
        let model: BTreeMap<u32, u32> = (0..5000).map(|key| (key * 2, key)).collect();
        check(&first, &model);
        check_node(&second.root, None, None, true);
        assert_ne!(first, second);
    }

    #[test]
    fn maps_with_the_same_entries_are_equal_however_they_came_about() {
        let upwards: Map = (0..1000).map(|key| (key, key)).collect();
        let downwards: Map = (0..1000).rev().map(|key| (key, key)).collect();
        assert_eq!(upwards, downwards);
        assert_ne!(upwards, (0..1000).map(|key| (key, key + 1)).collect());
    }

    #[test]
    fn keys_that_are_added_in_order_fill_the_nodes() {
        let map: Map = (0..10_240).map(|key| (key, key)).collect();
        // 320 leaves below 10 branches below the root.
        assert_eq!(check_node(&map.root, None, None, true), (3, 331));
    }

    #[test]
    fn a_map_that_shrinks_has_fewer_nodes() {
        let mut map: Map = (0..10_240).map(|key| (key, key)).collect();
        for key in (0..10_240).filter(|key| key % 64 != 0) {
            map.remove(&key);
        }
        let (_, nodes) = check_node(&map.root, None, None, true);
        assert!(nodes < 40, "{nodes} nodes for {} entries", map.len());
    }
}
