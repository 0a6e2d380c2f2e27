//! An empty ext2 file system, small enough to be written by hand, for the ext4 driver to mount:
//! a guest has no `mkfs`.

/// The size of a block, in bytes; the smallest there is.
const BLOCK: usize = 1024;
/// Blocks of the image, all in one group. Block 0 is the boot block and belongs to no group.
const BLOCKS: usize = 1024;
const INODES: usize = 32;
const INODE_SIZE: usize = 128;
/// Inodes 1 to 10 are reserved; the root directory is one of them.
const RESERVED_INODES: usize = 10;
const ROOT_INODE: usize = 2;

const SUPERBLOCK: usize = 1;
const GROUP_DESCRIPTORS: usize = 2;
const BLOCK_BITMAP: usize = 3;
const INODE_BITMAP: usize = 4;
const INODE_TABLE: usize = 5;
const ROOT_DIRECTORY: usize = INODE_TABLE + INODES * INODE_SIZE / BLOCK;
/// Blocks of the group that are in use: all up to the root directory's, without the boot block.
const USED_BLOCKS: usize = ROOT_DIRECTORY;

/// The image, [`BLOCKS`] blocks long.
struct Image(Vec<u8>);

impl Image {
    fn put_u16(&mut self, block: usize, offset: usize, value: usize) {
        let at = block * BLOCK + offset;
        self.0[at..at + 2].copy_from_slice(&u16::try_from(value).expect("fits 16 bits").to_le_bytes());
    }

    fn put_u32(&mut self, block: usize, offset: usize, value: usize) {
        let at = block * BLOCK + offset;
        self.0[at..at + 4].copy_from_slice(&u32::try_from(value).expect("fits 32 bits").to_le_bytes());
    }

    /// Marks the first `used` bits of a bitmap, and those beyond its `valid` ones.
    fn put_bitmap(&mut self, block: usize, used: usize, valid: usize) {
        for bit in (0..used).chain(valid..8 * BLOCK) {
            self.0[block * BLOCK + bit / 8] |= 1 << (bit % 8);
        }
    }
}

/// The bytes of an empty file system of 1 MiB whose root directory belongs to uid 0.
pub fn image() -> Vec<u8> {
    image_with_reserve(0)
}

/// As [`image`], with `reserved` blocks that only root may use.
pub fn image_with_reserve(reserved: u32) -> Vec<u8> {
    let mut image = Image(vec![0; BLOCKS * BLOCK]);
    let free_blocks = BLOCKS - 1 - USED_BLOCKS;
    let free_inodes = INODES - RESERVED_INODES;

    let superblock_u32 = [
        (0, INODES),
        (4, BLOCKS),
        (8, reserved as usize), // s_r_blocks_count
        (12, free_blocks),
        (16, free_inodes),
        (20, 1),         // s_first_data_block
        (32, 8 * BLOCK), // s_blocks_per_group
        (36, 8 * BLOCK), // s_clusters_per_group
        (40, INODES),    // s_inodes_per_group
        (76, 1),         // s_rev_level: dynamic inode sizes
        (84, RESERVED_INODES + 1),
    ];
    for (offset, value) in superblock_u32 {
        image.put_u32(SUPERBLOCK, offset, value);
    }
    // s_max_mnt_count, s_magic, s_state (clean), s_errors (continue), s_inode_size
    for (offset, value) in [(54, 0xffff), (56, 0xef53), (58, 1), (60, 1), (88, INODE_SIZE)] {
        image.put_u16(SUPERBLOCK, offset, value);
    }

    for (offset, value) in [(0, BLOCK_BITMAP), (4, INODE_BITMAP), (8, INODE_TABLE)] {
        image.put_u32(GROUP_DESCRIPTORS, offset, value);
    }
    for (offset, value) in [(12, free_blocks), (14, free_inodes), (16, 1)] {
        image.put_u16(GROUP_DESCRIPTORS, offset, value);
    }
    image.put_bitmap(BLOCK_BITMAP, USED_BLOCKS, BLOCKS - 1);
    image.put_bitmap(INODE_BITMAP, RESERVED_INODES, INODES);

    let root = (ROOT_INODE - 1) * INODE_SIZE;
    image.put_u16(INODE_TABLE, root, 0o40755);
    image.put_u32(INODE_TABLE, root + 4, BLOCK); // i_size
    image.put_u16(INODE_TABLE, root + 26, 2); // i_links_count
    image.put_u32(INODE_TABLE, root + 28, BLOCK / 512); // i_blocks
    image.put_u32(INODE_TABLE, root + 40, ROOT_DIRECTORY); // i_block[0]

    // "." and "..", the second one as long as the rest of the block.
    for (offset, length, name_length) in [(0, 12, 1), (12, BLOCK - 12, 2)] {
        image.put_u32(ROOT_DIRECTORY, offset, ROOT_INODE);
        image.put_u16(ROOT_DIRECTORY, offset + 4, length);
        image.put_u16(ROOT_DIRECTORY, offset + 6, name_length);
        let name = ROOT_DIRECTORY * BLOCK + offset + 8;
        image.0[name..name + name_length].fill(b'.');
    }
    image.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_counts_agree_with_the_bitmaps() {
        let image = image();
        let zeros = |block: usize| -> usize {
            image[block * BLOCK..(block + 1) * BLOCK].iter().map(|byte| byte.count_zeros() as usize).sum()
        };
        let count = |offset: usize| usize::from(image[BLOCK + offset]) | usize::from(image[BLOCK + offset + 1]) << 8;
        assert_eq!(zeros(BLOCK_BITMAP), count(12));
        assert_eq!(zeros(INODE_BITMAP), count(16));
    }

    #[test]
    fn image_has_the_size_of_a_backing_file() {
        assert_eq!(image().len() as u64, crate::backing::SIZE);
    }
}
