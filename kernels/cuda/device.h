// The words kernels are written in: everything special that a GPU thread does has a name here, and two meanings.
//
// Under nvcc they are PTX instructions (device_ptx.h), under a host compiler operations of the emulator, which check
// and count them (kernels/emulator/device_host.h). Kernels themselves know of neither. Both give, in
// espalier::kernels::ESPALIER_TARGET:
//
//   thread_index() block_index() grid_blocks()
//   SharedAddress                           byte offset in the block's dynamic shared memory
//   load_shared<T>(at) store_shared(at, v)  4, 8 or 16 bytes, aligned to their size
//   load_global(p) store_global(p, v)       any plain struct, aligned to its type
//   load_fresh(p)                           as load_global, of what other blocks may have written in this launch
//   copy_async(at, p) clear_async(at)       16 bytes to shared memory, or 16 zero bytes, asynchronously
//   commit_copies() wait_copies<N>()        closes a group of copies; waits until at most N groups are under way
//   block_sync() warp_sync()
//   team_barrier<Id, N>()                   a barrier of N of the block's threads, whole warps
//   keep_order()                            to the compiler: don't load ahead across here, registers are scarce
//   forget(x)                               to the compiler: x may have changed, keep nothing that followed from it
//   load_matrices(r, at) load_matrices_transposed(r, at)     ldmatrix.x4: lane 8i+j gives row j of matrix i
//   mma<D>(c, a, b0, b1)                    c += a b, m16n8k16, 16-bit inputs of type D, fp32 sums
//   shuffle(v, lane) shuffle_xor(v, mask) warp_any(b)        all 32 lanes take part
//   exp2_fast(x) log2_fast(x)
//   pack<D>(low, high) unpack<D>(bits)      a pair of 16-bit numbers in a register
//   widen_fp8<D>(bits, low, high)           four e4m3 numbers to two pairs
//   atomic_add(p, v) fence()                to the word and what it guards, device wide
//   poll(p)                                 reads a word that another block will change
//   device_time_ns() multiprocessor()       the device's clock; which of its multiprocessors this is
//
// Only where ESPALIER_BULK_COPIES is defined (sm_90 and up, the emulator). Barriers here are 8 bytes of shared memory
// each:
//
//   init_barrier(at, arrivals)              before the block's first block_sync()
//   arrive(barrier)                         counts this thread
//   arrive_expecting(barrier, bytes)        as well, and bytes that must land before the phase is over
//   wait_barrier(barrier, parity)           until the phase of that parity, 0 first, is over
//   copy_bulk(at, p, bytes, barrier)        by an engine that counts what lands at the barrier; all in multiples of 16
//   fence_engine()                          what this thread wrote to shared memory, or knows of, comes before what
//                                           engines do there next
//
// Likewise, of blocks that were launched as a cluster:
//
//   cluster_rank()                          of this block in its cluster
//   publish_barriers()                      to the cluster: those that this thread has just initialised, before
//                                           cluster_sync()
//   cluster_sync()                          all threads of the cluster that have not ended
//   arrive_in_block(barrier, rank)          as arrive(), at the barrier in this place of a block of the cluster, which
//                                           must not have ended; what this thread read may be overwritten behind it,
//                                           what it wrote is not handed over
//   copy_bulk_to_blocks(at, p, n, b, mask)  as copy_bulk(), once for all blocks of the cluster whose bit is set: same
//                                           places, same barrier
//
// Only where ESPALIER_WARPGROUPS is defined (sm_90a, the emulator). A warpgroup is four warps, the first a multiple of
// four; all must come:
//
//   arrive_when_copied(barrier)             counts this thread once its copies so far have landed; orders nothing else
//                                           that it did
//   shared_window(at)                       a shared address as matrix descriptors hold it
//   group_fence(registers...)               these sums and left factors are as they shall be: ahead of each group of
//                                           products
//   group_multiply<D>(c, a, b, add)         c = a b, or c += a b: 64 rows, 16 steps; a and b K-major in shared memory,
//                                           by descriptor
//   group_multiply<D>(c, a, b)              c += a b: a in registers as mma takes it, b MN-major in shared memory
//   group_commit() group_wait<N>(registers...)
//                                           closes a group of products; waits until at most N groups are under way
#pragma once

#include <cstdint>

#include "traces/head_config.h"

#if defined(__CUDACC__)
#define ESPALIER_TARGET on_cuda
#include "kernels/cuda/device_ptx.h"
#include "kernels/cuda/warpgroup_ptx.h"
#else
#define ESPALIER_TARGET on_host
#include "kernels/emulator/device_host.h"
#include "kernels/emulator/warpgroup_host.h"
#endif
