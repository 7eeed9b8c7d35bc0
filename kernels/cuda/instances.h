// The kernels that exist: a fixed, written list. Each is compiled for the GPU and, from the same source, for the
// emulator.
//
// To add one: a line in an attend_*.cu, and its entry in the kernel catalog where planners shall choose it.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/cuda/params.h"
#include "traces/head_config.h"

namespace espalier::kernels {

/// What a kernel needs of a device, and each path runs what those before it need: sm_80; bulk copies, sm_90; products
/// of warpgroups, sm_90a.
enum class KernelPath : std::uint8_t { plain, bulk, wgmma };

/// A kernel for tasks of one kind.
struct AttendInstance {
  scheduler::TaskKind kind;
  const char* name;
  traces::Dtype q_dtype, kv_dtype;
  std::int32_t qk_dim, v_dim;
  bool v_in_k;
  std::int32_t query_tile, kv_tile, stages, rows_per_warp;
  std::uint32_t threads, shared_bytes;
  void (*kernel)(AttendParams);
  KernelPath path = KernelPath::plain;
  std::uint32_t loading_threads = 0;  ///< of `threads`, that don't compute
  bool clusters = false;              ///< for launches in clusters, whose blocks load together; those alone
  /// Those that compute.
  constexpr std::uint32_t computing_threads() const { return threads - loading_threads; }
};

struct ReduceInstance {
  const char* name;
  std::int32_t v_dim;
  std::uint32_t threads;
  void (*kernel)(ReduceParams);
};

}  // namespace espalier::kernels

// One target's kernels.
#define ESPALIER_DECLARE_INSTANCES(target)                \
  namespace espalier::kernels::target {                   \
  std::span<const AttendInstance> attend_narrow();        \
  std::span<const AttendInstance> attend_standard();      \
  std::span<const AttendInstance> attend_standard_fp16(); \
  std::span<const AttendInstance> attend_standard_fp8();  \
  std::span<const AttendInstance> attend_wide();          \
  std::span<const AttendInstance> attend_latent();        \
  std::span<const AttendInstance> attend_bulk();          \
  std::span<const AttendInstance> attend_cluster();       \
  std::span<const AttendInstance> attend_wgmma();         \
  std::span<const AttendInstance> products();             \
  std::span<const ReduceInstance> reduce_instances();     \
  }
ESPALIER_DECLARE_INSTANCES(on_host)
ESPALIER_DECLARE_INSTANCES(on_cuda)
#undef ESPALIER_DECLARE_INSTANCES
