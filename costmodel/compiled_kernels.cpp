// Reads the compiler's figures once, sorted by architecture.
#include "costmodel/compiled_kernels.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"

extern const char* const resources_json;  // kernels/cuda/resources.json, embedded by the build

namespace espalier::costmodel {
namespace {

using core::JsonView;

struct CompiledKernel {
  KernelRole role = KernelRole::attend;
  traces::HeadConfig heads;  // of a merge kernel only the value columns
  std::int32_t query_tile = 0, kv_tile = 0, stages = 0;
  CompiledBlock block;
};

traces::Dtype dtype_in(const JsonView& view) {
  const auto dtype = traces::dtype_of(view.string());
  if (!dtype) throw core::bad_input(view.where(), "a number type", view.string());
  return *dtype;
}

std::int32_t small(const JsonView& view) { return static_cast<std::int32_t>(view.integer(0, 1 << 20)); }

/// "sm_90a" -> 9.0
double capability_of(const std::string& arch) {
  int number = 0;
  const auto read =
      std::from_chars(arch.data() + std::min<std::size_t>(arch.size(), 3), arch.data() + arch.size(), number);
  ESPALIER_CHECK(read.ec == std::errc());
  return number / 10.0;
}

/// By compute capability.
using Compiled = std::map<double, std::vector<CompiledKernel>>;

Compiled read_compiled() {
  const auto document = core::JsonDocument::parse(resources_json, "resources.json");
  const JsonView root = document.root();
  root.require_schema("kernel_resources/1");
  const JsonView rows = root.at("kernels");
  Compiled compiled;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const JsonView row = rows.at(i);
    if (!row.find("v_dim")) continue;  // kernels that no catalog entry stands for
    CompiledKernel kernel;
    kernel.block = {.registers = small(row.at("registers")),
                    .warps = small(row.at("warps")),
                    .smem_bytes = row.at("smem_bytes").integer(0)};
    kernel.heads.v_dim = small(row.at("v_dim"));
    if (!row.find("query_tile")) {
      kernel.role = KernelRole::reduce;
    } else {
      kernel.heads.qk_dim = small(row.at("qk_dim"));
      kernel.heads.q_dtype = dtype_in(row.at("q_dtype"));
      kernel.heads.kv_dtype = dtype_in(row.at("kv_dtype"));
      kernel.query_tile = small(row.at("query_tile"));
      kernel.kv_tile = small(row.at("kv_tile"));
      kernel.stages = small(row.at("stages"));
    }
    compiled[capability_of(row.at("arch").string())].push_back(kernel);
  }
  ESPALIER_CHECK(!compiled.empty());
  return compiled;
}

bool is_for(const CompiledKernel& compiled, const KernelConfig& kernel, const traces::HeadConfig& heads) {
  if (compiled.role != kernel.role || compiled.heads.v_dim != heads.v_dim) return false;
  if (kernel.role == KernelRole::reduce) return true;
  return compiled.heads.qk_dim == heads.qk_dim && compiled.heads.q_dtype == heads.q_dtype &&
         compiled.heads.kv_dtype == heads.kv_dtype && compiled.query_tile == kernel.query_tile &&
         compiled.kv_tile == kernel.kv_tile && compiled.stages == kernel.stages;
}

}  // namespace

std::optional<CompiledBlock> compiled_block(const KernelConfig& kernel, const traces::HeadConfig& heads,
                                            const DeviceSpec& device) {
  static const Compiled compiled = read_compiled();
  if (!kernel.name.starts_with("espalier_")) return {};
  auto newest = compiled.upper_bound(device.compute_capability);
  if (newest != compiled.begin()) --newest;
  for (const CompiledKernel& one : newest->second) {
    if (is_for(one, kernel, heads)) return one.block;
  }
  return {};
}

}  // namespace espalier::costmodel
