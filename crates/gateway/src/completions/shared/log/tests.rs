use super::Readers;
use proptest::prelude::*;

proptest! {
    #[test]
    fn slowest_and_fastest_are_known_whoever_comes_reads_and_leaves(steps in prop::collection::vec((0..4_u8, 0..8_usize), 0..200)) {
        let mut readers = Readers::default();
        let mut model: Vec<(u64, usize)> = Vec::new();
        for (step, who) in steps {
            let who = who % model.len().max(1);
            match (step, model.get(who).copied()) {
                (0, _) | (_, None) => model.push((readers.add(), 0)),
                (1, Some((id, _))) => {
                    readers.remove(id);
                    model.remove(who);
                }
                (_, Some((id, read))) => {
                    model[who].1 = read + 1;
                    readers.advance(id, 10);
                }
            }
            let read = || model.iter().map(|(_, read)| *read);
            prop_assert_eq!(readers.is_empty(), model.is_empty());
            prop_assert_eq!(readers.slowest(), read().min().unwrap_or(usize::MAX));
            prop_assert_eq!(readers.fastest(), read().max().map_or(usize::MAX, |read| 10 * read));
        }
    }
}
