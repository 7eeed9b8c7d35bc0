// A kernel as the models see it: tiles, stages, resources. Data only; it may describe a kernel that doesn't exist yet.
//
// The catalog (costmodel/data/kernels.json) holds our own family and the kernels that the published methods shipped
// with, so that plans can be judged alone (--kernels ours) or methods as shipped (--kernels published).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "costmodel/device_spec.h"
#include "traces/head_config.h"

namespace espalier::core {
class JsonView;
}  // namespace espalier::core

namespace espalier::costmodel {

enum class KernelRole : std::uint8_t {
  attend,   ///< partial attention: QK, online softmax, PV
  reduce,   ///< merges partial rows
  scores,   ///< QK GEMM that stores its scores
  softmax,  ///< one softmax over stored scores, in place
  values,   ///< PV GEMM over stored probabilities
};
std::string_view role_name(KernelRole role);

enum class Engine : std::uint8_t {
  mma_sync,
  wgmma,
  cuda_core,
  cpu,  ///< a core of the host: computes the pairs that are seen, rows padded to rows_per_warp for reads only
};
constexpr bool has_tensor_cores(Engine engine) { return engine == Engine::mma_sync || engine == Engine::wgmma; }
std::string_view engine_name(Engine engine);

struct KernelConfig {
  std::string name;
  KernelRole role = KernelRole::attend;
  Engine engine = Engine::mma_sync;
  std::int32_t query_tile = 16;     ///< rows of one CTA (requests x packed heads); reduce: rows of one CTA
  std::int32_t kv_tile = 64;        ///< tokens of one step
  std::int32_t rows_per_warp = 16;  ///< rows that share one read of the K/V tile from shared memory
  bool packs_heads = true;          ///< the query heads of a group are rows of one tile; else one CTA per query head
  std::int32_t stages = 2;          ///< KV tiles in the copy ring (1: load, wait, compute)
  std::int32_t warps = 4;
  std::int32_t smem_bytes = 0;  ///< dynamic shared memory; 0: derived from tiles, stages and heads
  std::int32_t registers =
      128;  ///< per thread; of our own kernels only where none was compiled for the heads (compiled_block)
  std::int32_t cluster = 1;
  std::int32_t lookups =
      0;  ///< loads one after another (work list, offsets, queries, page table) before a CTA's first KV load
  traces::Dtype partial_dtype = traces::Dtype::fp32;
  double overlap = 0.9;     ///< w: share of the lesser pipes' time hidden under the busiest
  double efficiency = 1.0;  ///< share of the modelled rate this implementation reaches
  bool implemented = false;
  std::string origin;  ///< source of the numbers; "assumed" where they are ours

  friend bool operator==(const KernelConfig&, const KernelConfig&) = default;
};

/// Throws Error (bad input) for a size that makes no sense (a query tile of 0 rows, 300 registers a thread, …).
void check_kernel(const KernelConfig& kernel, std::string_view where);

/// One entry of a catalog/1 document. Absent keys keep their defaults, except name, role and tiles.
KernelConfig read_kernel(const core::JsonView& view);

/// Shared memory of one CTA in bytes for these heads: the field, or Q tile + stages x (K+V) tile (scores: K only;
/// values: the probabilities' tile and V only; reduce and softmax: none).
std::int64_t smem_bytes(const KernelConfig& kernel, const traces::HeadConfig& heads);

/// CTAs of this kernel that fit one SM (warps, registers, shared memory, CTA limit); 0 when one doesn't fit.
std::int32_t ctas_per_sm(const KernelConfig& kernel, const traces::HeadConfig& heads, const DeviceSpec& device);

/// Why a CTA can't run on the device (senseless sizes, shared memory, warps, registers, accumulators, engine missing);
/// empty when it can.
std::string unfit_reason(const KernelConfig& kernel, const traces::HeadConfig& heads, const DeviceSpec& device);
bool fits_device(const KernelConfig& kernel, const traces::HeadConfig& heads, const DeviceSpec& device);

const std::vector<KernelConfig>& kernel_catalog();
/// Throws Error (usage) with the nearest name when the catalog has none.
const KernelConfig& find_kernel(std::string_view name);

/// Our partial-attention kernel with the smallest query tile >= rows that fits the device (else the largest that fits);
/// of equal query tiles the one with the longer KV tile, then with more stages. Throws Error (check failed: the plan is
/// refused) when none fits.
const KernelConfig& our_attend_kernel(std::int64_t rows, const traces::HeadConfig& heads, const DeviceSpec& device);
/// Those that it gives for any number of rows, by rising query tile; none when none fits.
std::vector<const KernelConfig*> our_attend_kernels(const traces::HeadConfig& heads, const DeviceSpec& device);
/// Largest query tile of our family that fits the device.
std::int32_t our_largest_tile(const traces::HeadConfig& heads, const DeviceSpec& device);
const KernelConfig& our_reduce_kernel();

}  // namespace espalier::costmodel
