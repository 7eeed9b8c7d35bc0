// Occupancy arithmetic, the kernel catalog and the choice within our own family.
#include "costmodel/kernel_config.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"
#include "core/units.h"
#include "costmodel/compiled_kernels.h"

extern const char* const kernels_json;  // costmodel/data/kernels.json, embedded by the build

namespace espalier::costmodel {

namespace {

using core::JsonView;

constexpr std::int64_t kThreadsPerWarp = 32;
constexpr std::int64_t kRegisterUnit = 256;  // registers are given to a warp in units of 256 (CUDA occupancy rules)
constexpr std::int64_t kPartitions = 4;      // of an SM
constexpr std::int64_t kSmemReserve = core::kKiB;      // the driver keeps 1 KiB a CTA from compute capability 8.0 on
constexpr std::int64_t kMostRegistersPerThread = 255;  // instruction encoding
constexpr std::int64_t kMostWarpsPerCta = 32;
// Addresses, row statistics, one operand fragment: what a thread needs besides its accumulators (our estimate).
constexpr std::int64_t kRegistersBesideAccumulators = 40;

constexpr std::array kRoles{std::pair{KernelRole::attend, "attend"}, std::pair{KernelRole::reduce, "reduce"},
                            std::pair{KernelRole::scores, "scores"}, std::pair{KernelRole::softmax, "softmax"},
                            std::pair{KernelRole::values, "values"}};
constexpr std::array kEngines{std::pair{Engine::mma_sync, "mma_sync"}, std::pair{Engine::wgmma, "wgmma"},
                              std::pair{Engine::cuda_core, "cuda_core"}, std::pair{Engine::cpu, "cpu"}};

template <class Table, class Value>
std::string_view name_in(const Table& table, Value value) {
  for (const auto& [key, name] : table) {
    if (key == value) return name;
  }
  ESPALIER_CHECK(false);
}

template <class Table>
auto value_in(const Table& table, const JsonView& view) {
  const std::string text = view.string();
  std::vector<std::string> names;
  for (const auto& [key, name] : table) {
    if (text == name) return key;
    names.emplace_back(name);
  }
  throw core::bad_input(view.where(), "one of " + core::join(names, ", "), fmt::format("\"{}\"", text));
}

struct Size {
  const char* field;
  double value, low, high;
};

/// Every size that occupancy and counts divide or multiply by, with its legal range.
std::array<Size, 11> sizes_of(const KernelConfig& kernel) {
  return {{{"query_tile", static_cast<double>(kernel.query_tile), 1, 4096},
           {"kv_tile", static_cast<double>(kernel.kv_tile), 1, 65536},
           {"rows_per_warp", static_cast<double>(kernel.rows_per_warp), 1, 4096},
           {"stages", static_cast<double>(kernel.stages), 1, 64},
           {"warps", static_cast<double>(kernel.warps), 1, kMostWarpsPerCta},
           {"smem_bytes", static_cast<double>(kernel.smem_bytes), 0, 1 << 30},
           {"registers", static_cast<double>(kernel.registers), 1, kMostRegistersPerThread},
           {"cluster", static_cast<double>(kernel.cluster), 1, 16},
           {"lookups", static_cast<double>(kernel.lookups), 0, 64},
           {"overlap", kernel.overlap, 0, 1},
           {"efficiency", kernel.efficiency, 0.01, 1}}};
}

bool in_range(const Size& size) { return size.value >= size.low && size.value <= size.high; }

std::int64_t device_bytes(double kib) { return static_cast<std::int64_t>(kib * static_cast<double>(core::kKiB)); }

/// What a CTA takes of an SM: as compiled where that is known.
CompiledBlock block_of(const KernelConfig& kernel, const traces::HeadConfig& heads, std::int64_t smem,
                       const DeviceSpec& device) {
  CompiledBlock block{.registers = kernel.registers, .warps = kernel.warps, .smem_bytes = smem};
  const std::optional<CompiledBlock> compiled = compiled_block(kernel, heads, device);
  if (!compiled) return block;
  // Merges: at least what the catalog says. Some rules cut their pieces by how many merges an SM holds, and shouldn't
  // by the compiler's luck.
  block.registers =
      kernel.role == KernelRole::reduce ? std::max(compiled->registers, kernel.registers) : compiled->registers;
  block.warps = compiled->warps;
  block.smem_bytes = std::max(block.smem_bytes, compiled->smem_bytes);
  return block;
}

/// An SM's warps lie in four partitions, each with its quarter of the registers: five warps of 184 want six of 12
/// places, and there are eight.
std::int64_t ctas_by_registers(const CompiledBlock& block, const DeviceSpec& device) {
  const std::int64_t warp = core::round_up(block.registers * kThreadsPerWarp, kRegisterUnit);
  return kPartitions * (static_cast<std::int64_t>(device.registers_per_sm) / kPartitions / warp) / block.warps;
}

/// fp32 accumulators of one thread when the CTA's threads share the output tile evenly: the least any layout needs.
std::int64_t accumulators_per_thread(const KernelConfig& kernel, const traces::HeadConfig& heads) {
  const bool has_output_tile = kernel.role == KernelRole::attend && has_tensor_cores(kernel.engine);
  if (!has_output_tile) return 0;
  return core::ceil_div(std::int64_t{kernel.query_tile} * heads.v_dim, kernel.warps * kThreadsPerWarp);
}

/// What a CTA of a kernel lacks: it needs `need`, there are `most`.
enum class Limit : std::uint8_t { size, engine, smem, warps, registers, accumulators };
struct Unfit {
  Limit limit;
  std::int64_t need = 0, most = 0;
};

struct Fit {
  std::optional<Unfit> unfit = std::nullopt;
  CompiledBlock block = {};  ///< what a CTA takes, if nothing lacks
};

/// No text is made here: planners ask of every kernel, at every step.
Fit fit_of(const KernelConfig& kernel, const traces::HeadConfig& heads, const DeviceSpec& device) {
  for (const Size& size : sizes_of(kernel)) {
    if (!in_range(size)) return {Unfit{Limit::size}};
  }
  // It runs a form of its own (host_kernel.h), with nothing of this to run out of.
  if (device.is_cpu()) return {};
  if (kernel.engine == Engine::wgmma && device.wgmma_flop_per_clk <= 0) return {Unfit{Limit::engine}};
  const std::int64_t smem = smem_bytes(kernel, heads);
  const std::int64_t most_smem =
      std::min(device_bytes(device.smem_kib_per_cta), device_bytes(device.smem_kib_per_sm) - kSmemReserve);
  if (smem > most_smem) return {Unfit{Limit::smem, smem, most_smem}};
  const auto most_warps = std::min(kMostWarpsPerCta, static_cast<std::int64_t>(device.warps_per_sm));
  if (kernel.warps > most_warps) return {Unfit{Limit::warps, kernel.warps, most_warps}};
  const CompiledBlock block = block_of(kernel, heads, smem, device);
  if (ctas_by_registers(block, device) < 1) {
    return {Unfit{
        Limit::registers,
        core::round_up(block.warps, kPartitions) * core::round_up(block.registers * kThreadsPerWarp, kRegisterUnit),
        static_cast<std::int64_t>(device.registers_per_sm)}};
  }
  const std::int64_t accumulators = accumulators_per_thread(kernel, heads);
  if (accumulators > 0 && accumulators + kRegistersBesideAccumulators > block.registers) {
    return {Unfit{Limit::accumulators, accumulators, block.registers}};
  }
  return {std::nullopt, block};
}

std::vector<KernelConfig> read_catalog() {
  const auto document = core::JsonDocument::parse(kernels_json, "kernels.json");
  const JsonView root = document.root();
  root.require_schema("catalog/1");
  root.allow_only({"schema", "kernels"});
  const JsonView list = root.at("kernels");
  std::vector<KernelConfig> catalog;
  for (std::size_t i = 0; i < list.size(); ++i) catalog.push_back(read_kernel(list.at(i)));
  return catalog;
}

/// Our attend kernels, in order of preference within equal query tiles.
std::vector<const KernelConfig*> sort_our_family() {
  std::vector<const KernelConfig*> family;
  for (const KernelConfig& kernel : kernel_catalog()) {
    if (kernel.role == KernelRole::attend && kernel.name.starts_with("espalier_")) family.push_back(&kernel);
  }
  std::stable_sort(family.begin(), family.end(), [](const KernelConfig* a, const KernelConfig* b) {
    if (a->query_tile != b->query_tile) return a->query_tile < b->query_tile;
    if (a->kv_tile != b->kv_tile) return a->kv_tile > b->kv_tile;
    return a->stages > b->stages;
  });
  return family;
}

const std::vector<const KernelConfig*>& our_attend_family() {
  static const std::vector<const KernelConfig*> family = sort_our_family();
  return family;
}

}  // namespace

std::string_view role_name(KernelRole role) { return name_in(kRoles, role); }
std::string_view engine_name(Engine engine) { return name_in(kEngines, engine); }

void check_kernel(const KernelConfig& kernel, std::string_view where) {
  if (kernel.name.empty()) throw core::bad_input(where, "a kernel with a name", "an empty name");
  for (const Size& size : sizes_of(kernel)) {
    if (in_range(size)) continue;
    throw core::bad_input(fmt::format("{}: {}", where, size.field), fmt::format("{} to {}", size.low, size.high),
                          fmt::format("{}", size.value));
  }
}

KernelConfig read_kernel(const JsonView& view) {
  view.allow_only({"name", "role", "engine", "query_tile", "kv_tile", "rows_per_warp", "packs_heads", "stages", "warps",
                   "smem_bytes", "registers", "cluster", "lookups", "partial_dtype", "overlap", "efficiency",
                   "implemented", "origin"});
  KernelConfig kernel;
  const auto integer = [&](const char* key, std::int32_t& value) {
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    if (const auto found = view.find(key)) value = static_cast<std::int32_t>(found->integer(0, kMost));
  };
  kernel.name = view.at("name").string();
  kernel.role = value_in(kRoles, view.at("role"));
  if (const auto found = view.find("engine")) kernel.engine = value_in(kEngines, *found);
  view.at("query_tile");
  view.at("kv_tile");
  integer("query_tile", kernel.query_tile);
  integer("kv_tile", kernel.kv_tile);
  integer("rows_per_warp", kernel.rows_per_warp);
  if (const auto found = view.find("packs_heads")) kernel.packs_heads = found->boolean();
  integer("stages", kernel.stages);
  integer("warps", kernel.warps);
  integer("smem_bytes", kernel.smem_bytes);
  integer("registers", kernel.registers);
  integer("cluster", kernel.cluster);
  integer("lookups", kernel.lookups);
  if (const auto found = view.find("partial_dtype")) {
    const auto dtype = traces::dtype_of(found->string());
    if (!dtype) {
      throw core::bad_input(found->where(), "a number type such as fp32 or bf16", "\"" + found->string() + "\"");
    }
    kernel.partial_dtype = *dtype;
  }
  if (const auto found = view.find("overlap")) kernel.overlap = found->number();
  if (const auto found = view.find("efficiency")) kernel.efficiency = found->number();
  if (const auto found = view.find("implemented")) kernel.implemented = found->boolean();
  if (const auto found = view.find("origin")) kernel.origin = found->string();
  check_kernel(kernel, view.where());
  return kernel;
}

std::int64_t smem_bytes(const KernelConfig& kernel, const traces::HeadConfig& heads) {
  if (kernel.smem_bytes > 0) return kernel.smem_bytes;
  const std::int64_t q = traces::dtype_bytes(heads.q_dtype);
  const std::int64_t kv = traces::dtype_bytes(heads.kv_dtype);
  const std::int64_t query_tile = kernel.query_tile;
  // Checked: a plan file may hold any sizes.
  const std::int64_t q_tile = core::checked_mul(query_tile, heads.qk_dim * q);
  const auto ring = [&](std::int64_t token_bytes) {
    return core::checked_mul(std::int64_t{kernel.stages} * kernel.kv_tile, token_bytes);
  };
  switch (kernel.role) {
    case KernelRole::attend:
      return core::checked_add(q_tile, ring(heads.kv_bytes_per_token_head()));
    case KernelRole::scores:
      return core::checked_add(q_tile, ring(heads.qk_dim * kv));
    case KernelRole::values:
      return core::checked_add(core::checked_mul(query_tile * kernel.kv_tile, q), ring(heads.v_dim * kv));
    case KernelRole::reduce:
    case KernelRole::softmax:
      return 0;
  }
  ESPALIER_CHECK(false);
}

std::int32_t ctas_per_sm(const KernelConfig& kernel, const traces::HeadConfig& heads, const DeviceSpec& device) {
  const auto [unfit, block] = fit_of(kernel, heads, device);
  if (unfit) return 0;
  if (device.is_cpu()) return static_cast<std::int32_t>(device.ctas_per_sm);
  const auto limit = [](double resource, std::int64_t need) { return static_cast<std::int64_t>(resource) / need; };
  const std::int64_t smem = device_bytes(device.smem_kib_per_sm) / (block.smem_bytes + kSmemReserve);
  // At least one: where what was compiled takes more shared memory than there is, a kernel of fewer stages or shorter
  // tiles runs.
  const std::int64_t resident =
      std::max<std::int64_t>(1, std::min({limit(device.ctas_per_sm, 1), limit(device.warps_per_sm, block.warps),
                                          ctas_by_registers(block, device), smem}));
  return static_cast<std::int32_t>(resident);
}

bool fits_device(const KernelConfig& kernel, const traces::HeadConfig& heads, const DeviceSpec& device) {
  return !fit_of(kernel, heads, device).unfit;
}

std::string unfit_reason(const KernelConfig& kernel, const traces::HeadConfig& heads, const DeviceSpec& device) {
  const std::optional<Unfit> unfit = fit_of(kernel, heads, device).unfit;
  if (!unfit) return {};
  switch (unfit->limit) {
    case Limit::size:
      for (const Size& size : sizes_of(kernel)) {
        if (!in_range(size)) {
          return fmt::format("{} has {} {}, expected {} to {}", kernel.name, size.field, size.value, size.low,
                             size.high);
        }
      }
      break;
    case Limit::engine:
      return fmt::format("{} needs warp-group MMA, which {} lacks", kernel.name, device.name);
    case Limit::smem:
      return fmt::format("{} needs {} bytes of shared memory a CTA, {} has {}", kernel.name, unfit->need, device.name,
                         unfit->most);
    case Limit::warps:
      return fmt::format("{} needs {} warps a CTA, {} has {}", kernel.name, unfit->need, device.name, unfit->most);
    case Limit::registers:
      return fmt::format("{} needs {} registers a CTA, {} has {}", kernel.name, unfit->need, device.name, unfit->most);
    case Limit::accumulators:
      return fmt::format("{} would spill: {} accumulators a thread for {} value columns, {} registers", kernel.name,
                         unfit->need, heads.v_dim, unfit->most);
  }
  ESPALIER_CHECK(false);
}

const std::vector<KernelConfig>& kernel_catalog() {
  static const std::vector<KernelConfig> catalog = read_catalog();
  return catalog;
}

const KernelConfig& find_kernel(std::string_view name) {
  for (const KernelConfig& kernel : kernel_catalog()) {
    if (kernel.name == name) return kernel;
  }
  std::vector<std::string> names;
  for (const KernelConfig& kernel : kernel_catalog()) names.push_back(kernel.name);
  throw core::usage_error(core::unknown_name("kernel", name, names));
}

const KernelConfig& our_attend_kernel(std::int64_t rows, const traces::HeadConfig& heads, const DeviceSpec& device) {
  const std::vector<const KernelConfig*>& family = our_attend_family();
  const auto holds = std::find_if(family.begin(), family.end(),
                                  [&](const KernelConfig* kernel) { return kernel->query_tile >= rows; });
  for (auto kernel = holds; kernel != family.end(); ++kernel) {
    if (fits_device(**kernel, heads, device)) return **kernel;
  }
  const KernelConfig* chosen = nullptr;
  for (auto kernel = family.begin(); kernel != holds; ++kernel) {
    const bool larger = chosen == nullptr || (*kernel)->query_tile > chosen->query_tile;
    if (larger && fits_device(**kernel, heads, device)) chosen = *kernel;
  }
  if (chosen == nullptr) {
    const std::string why = family.empty() ? "" : unfit_reason(*family.front(), heads, device);
    throw core::Error(core::ErrorKind::check_failed, fmt::format("none of our kernels fits {} for heads {}: {}",
                                                                 device.name, traces::heads_text(heads), why));
  }
  return *chosen;
}

std::vector<const KernelConfig*> our_attend_kernels(const traces::HeadConfig& heads, const DeviceSpec& device) {
  std::vector<const KernelConfig*> kernels;
  kernels.reserve(our_attend_family().size());
  for (const KernelConfig* kernel : our_attend_family()) {
    const bool other = kernels.empty() || kernel->query_tile > kernels.back()->query_tile;
    if (other && fits_device(*kernel, heads, device)) kernels.push_back(kernel);
  }
  return kernels;
}

std::int32_t our_largest_tile(const traces::HeadConfig& heads, const DeviceSpec& device) {
  return our_attend_kernel(std::numeric_limits<std::int64_t>::max(), heads, device).query_tile;
}

const KernelConfig& our_reduce_kernel() {
  static const KernelConfig& kernel = find_kernel("espalier_reduce");
  return kernel;
}

}  // namespace espalier::costmodel
