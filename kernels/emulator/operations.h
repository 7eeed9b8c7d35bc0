// What the running emulated thread can do. kernels/emulator/device_host.h gives these the names that kernels use.
#pragma once

#include <cstdint>

#include "kernels/emulator/numerics.h"
#include "kernels/emulator/warpgroup.h"

namespace espalier::kernels::emulator {

struct Place {
  std::uint32_t thread, block, blocks;
  std::uint32_t rank;  ///< of the block in its cluster
};
Place place();

/// Size and required alignment of one access, in bytes.
struct Extent {
  std::uint32_t bytes;
  std::uint32_t alignment;
};
// The return address of these five, and of copy_async, names the instruction that lanes share: never inline them.
[[gnu::noinline]] void load_global_bytes(void* into, const void* from, Extent extent);
/// Of what other blocks may have written in this launch; a plain load of that is an error.
[[gnu::noinline]] void load_fresh_bytes(void* into, const void* from, Extent extent);
[[gnu::noinline]] void store_global_bytes(void* into, const void* from, Extent extent);
[[gnu::noinline]] void load_shared_bytes(void* into, std::uint32_t at, Extent extent);
[[gnu::noinline]] void store_shared_bytes(std::uint32_t at, const void* from, Extent extent);

/// 16 bytes from global to shared memory, or zeros when `from` is null.
[[gnu::noinline]] void copy_async(std::uint32_t at, const void* from);
void commit_copies();
/// Waits until at most `pending` of the newest groups are under way.
void wait_copies(int pending);

// Barriers that count arrivals and bytes of bulk copies (mbarrier), 8 bytes of shared memory each.
void init_barrier(std::uint32_t at, int arrivals);
/// Lets the other blocks of the cluster use what this thread has initialised; they still have to meet.
void publish_barriers();
/// Arrives, and expects so many more bytes to land in this phase.
void arrive(std::uint32_t at, std::uint32_t bytes);
/// Arrives at the barrier at this place in another block of the cluster, or in this one.
void arrive_in_block(std::uint32_t at, std::uint32_t rank);
/// Arrives once all copies that this thread has begun, and not closed as a group, have landed. Nothing else that it did
/// is waited for.
void arrive_when_copied(std::uint32_t at);
/// Waits until the phase of this parity is over.
void wait_barrier(std::uint32_t at, std::uint32_t parity);
/// A run of bytes from global to shared memory.
struct BulkSource {
  const void* from;
  std::uint32_t bytes;
};
/// By an engine that counts at the barrier what has landed.
void copy_bulk(std::uint32_t at, const BulkSource& source, std::uint32_t barrier);
/// One read for all blocks of the cluster whose bit is set: to the same place in each, counted at the barrier of each.
void copy_bulk_to_blocks(std::uint32_t at, const BulkSource& source, std::uint32_t barrier, std::uint32_t blocks);
/// What this warp wrote to shared memory by ordinary stores and copies, or knows of, comes before what engines (of bulk
/// copies and of products of warpgroups) do there that it starts, or that others start who learn of it.
void fence_engine();

void block_barrier(int id, int threads);
/// All threads of the cluster that have not ended.
void cluster_barrier();
void warp_barrier();
/// Warp operations: all 32 lanes must arrive.
void load_matrices(std::uint32_t* registers /* [4] */, std::uint32_t row_at, bool transposed);
void multiply_accumulate(MmaFormat format, const MmaLane& operands);
std::uint32_t shuffle_bits(std::uint32_t value, int from_lane);
bool warp_any(bool value);

// Products of a warpgroup (wgmma): all 128 threads of four warps must arrive, the first of them a multiple of four.
/// Registers that products take or add to are as they shall be. Asked for ahead of each group of products, which is
/// more than the ISA asks.
void warpgroup_fence();
/// Begins sums += left x right: 64 rows, 16 steps. Sums hold nothing, and factors must stay, until a wait for the
/// product's group.
void warpgroup_multiply(const GroupFactors& factors, float* sums /* [columns / 2] */);
/// Closes a group of products.
void warpgroup_commit();
/// Waits until at most `pending` of the newest groups are under way.
void warpgroup_wait(int pending);

std::uint32_t atomic_add_bits(std::uint32_t* at, std::uint32_t value);
/// Reads a word that other blocks write; the caller polls.
std::uint32_t poll_word(const std::uint32_t* at);
void count_exp();
/// Virtual time: how often it was asked for so far. Moments tell the order of events, nothing of their length.
std::uint64_t next_moment();

}  // namespace espalier::kernels::emulator
