// The committed figures of the compiled kernels (script/kernels writes and checks them) are those of the kernels that
// there are.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "costmodel/kernel_config.h"
#include "kernels/emulate.h"
#include "kernels/probe_plan.h"

namespace espalier::kernels {
namespace {

core::JsonDocument resources() {
  const std::string path = ESPALIER_SOURCE_DIR "/kernels/cuda/resources.json";
  return core::JsonDocument::parse(core::read_file(path), path);
}

std::vector<std::string> all_probes() {
  std::vector<std::string> names = device_only_probes();
  for (const auto list :
       {on_host::stream_probes(), on_host::ring_probes(), on_host::pipe_probes(), on_host::launch_probes()}) {
    for (const ProbeInstance& probe : list) names.emplace_back(probe.name);
  }
  return names;
}

TEST(KernelResources, NameEveryKernelForEveryArchitecture) {
  const core::JsonDocument document = resources();
  std::set<std::pair<std::string, std::string>> have, want;
  const core::JsonView rows = document.root().at("kernels");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    have.emplace(rows.at(i).at("name").string(), rows.at(i).at("arch").string());
  }
  for (const std::string& arch : document.root().at("architectures").strings()) {
    for (const AttendInstance& kernel : host_kernels().attend) want.emplace(kernel.name, arch);
    for (const ReduceInstance& kernel : host_kernels().reduce) want.emplace(kernel.name, arch);
    for (const std::string& probe : all_probes()) want.emplace(probe, arch);
  }
  EXPECT_EQ(have, want);
  EXPECT_GE(document.root().at("architectures").size(), 3U);
}

TEST(KernelResources, KeepEveryKernelInRegisters) {
  const core::JsonDocument document = resources();
  const core::JsonView rows = document.root().at("kernels");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string name = rows.at(i).at("name").string();
    EXPECT_LE(rows.at(i).at("registers").integer(), 255) << name;
    EXPECT_EQ(rows.at(i).at("stack_bytes").integer(), 0) << name;
    EXPECT_EQ(rows.at(i).at("spill_store_bytes").integer() + rows.at(i).at("spill_load_bytes").integer(), 0) << name;
  }
}

TEST(KernelResources, SayWhatBlocksOfPlainKernelsTake) {
  const core::JsonDocument document = resources();
  const core::JsonView rows = document.root().at("kernels");
  std::size_t compared = 0;
  for (const AttendInstance& kernel : host_kernels().attend) {
    if (kernel.kind != scheduler::TaskKind::attend || kernel.path != KernelPath::plain) continue;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (rows.at(i).at("name").string() != kernel.name) continue;
      EXPECT_EQ(rows.at(i).at("warps").integer() * 32, kernel.threads) << kernel.name;
      EXPECT_EQ(rows.at(i).at("smem_bytes").integer(), kernel.shared_bytes) << kernel.name;
      EXPECT_EQ(rows.at(i).at("query_tile").integer(), kernel.query_tile) << kernel.name;
      EXPECT_EQ(rows.at(i).at("qk_dim").integer(), kernel.qk_dim) << kernel.name;
      EXPECT_EQ(rows.at(i).at("kv_dtype").string(), traces::dtype_name(kernel.kv_dtype)) << kernel.name;
      ++compared;
    }
  }
  EXPECT_GE(compared, 100U);
}

/// A compiled kernel as the occupancy rules see it, none of it looked up.
costmodel::KernelConfig as_compiled(const AttendInstance& instance, std::int64_t registers) {
  costmodel::KernelConfig kernel;
  kernel.name = "compiled";
  kernel.role = costmodel::KernelRole::softmax;  // no accumulators to make room for
  kernel.warps = static_cast<std::int32_t>(instance.threads) / 32;
  kernel.registers = static_cast<std::int32_t>(registers);
  kernel.smem_bytes = static_cast<std::int32_t>(instance.shared_bytes);
  return kernel;
}

traces::HeadConfig heads_of(const AttendInstance& instance) {
  traces::HeadConfig heads;
  heads.qk_dim = instance.qk_dim;
  heads.v_dim = instance.v_dim;
  heads.v_in_k = instance.v_in_k;
  heads.q_dtype = instance.q_dtype;
  heads.kv_dtype = instance.kv_dtype;
  return heads;
}

std::int32_t blocks_per_sm(const AttendInstance& instance, const std::string& arch,
                           const costmodel::DeviceSpec& device) {
  static const core::JsonDocument document = resources();
  const core::JsonView rows = document.root().at("kernels");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows.at(i).at("name").string() != instance.name || rows.at(i).at("arch").string() != arch) continue;
    return costmodel::ctas_per_sm(as_compiled(instance, rows.at(i).at("registers").integer()), heads_of(instance),
                                  device);
  }
  ADD_FAILURE() << instance.name << " for " << arch;
  return 0;
}

/// Another path must not halve what an SM holds: plans are dealt for what the plain kernels allow.
TEST(KernelOccupancy, OfOtherPathsIsNoLessThanOfPlainKernels) {
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  std::size_t compared = 0;
  for (const AttendInstance& other : host_kernels().attend) {
    if (other.path == KernelPath::plain) continue;
    for (const AttendInstance& plain : host_kernels().attend) {
      const bool same = plain.path == KernelPath::plain && plain.kind == other.kind &&
                        heads_of(plain) == heads_of(other) && plain.query_tile == other.query_tile;
      if (!same) continue;
      EXPECT_GE(blocks_per_sm(other, "sm_90a", device), blocks_per_sm(plain, "sm_90a", device))
          << other.name << " beside " << plain.name;
      ++compared;
    }
  }
  EXPECT_GE(compared, 10U);
}

/// Queues are dealt to as many CTAs as the catalog says there are.
TEST(KernelOccupancy, IsNoMoreInTheCatalogThanOnDevices) {
  std::size_t compared = 0;
  for (const auto& [arch, name] : {std::pair("sm_80", "a100-80"), std::pair("sm_90a", "h100-sxm")}) {
    const costmodel::DeviceSpec device = costmodel::find_device(name);
    for (const costmodel::KernelConfig& k : costmodel::kernel_catalog()) {
      if (!k.name.starts_with("espalier_mma")) continue;
      for (const AttendInstance& i : host_kernels().attend) {
        const bool same = i.kind == scheduler::TaskKind::attend && i.query_tile == k.query_tile &&
                          i.kv_tile == k.kv_tile && i.stages == k.stages;
        if (!same || (i.path != KernelPath::plain && device.compute_capability < 9) ||
            i.shared_bytes > device.smem_kib_per_cta * 1024) {
          continue;
        }
        EXPECT_LE(costmodel::ctas_per_sm(k, heads_of(i), device), blocks_per_sm(i, arch, device))
            << k.name << ", " << i.name << " for " << arch;
        ++compared;
      }
    }
  }
  EXPECT_GE(compared, 40U);
}

/// What the catalog calls implemented is compiled: an instance of the same tiles and stages, whatever its heads.
TEST(KernelCatalogOfInstances, ClaimsNoKernelThatIsNotThere) {
  std::size_t implemented = 0;
  for (const costmodel::KernelConfig& k : costmodel::kernel_catalog()) {
    if (!k.implemented) continue;
    ++implemented;
    if (k.role == costmodel::KernelRole::reduce) {
      EXPECT_TRUE(std::any_of(host_kernels().reduce.begin(), host_kernels().reduce.end(), [&](const ReduceInstance& i) {
        return i.threads == 32U * static_cast<unsigned>(k.warps);
      })) << k.name;
      continue;
    }
    const auto matches = [&](const AttendInstance& i) {
      return i.query_tile == k.query_tile && i.kv_tile == k.kv_tile && i.stages == k.stages;
    };
    EXPECT_TRUE(std::any_of(host_kernels().attend.begin(), host_kernels().attend.end(), matches)) << k.name;
  }
  EXPECT_GE(implemented, 9U);
}

/// And what most plans run by is in it, as implemented.
TEST(KernelCatalogOfInstances, HoldsTheDeepestKernelOfEveryTile) {
  for (const std::int32_t tile : {16, 32, 64, 128}) {
    const costmodel::KernelConfig& k = costmodel::find_kernel("espalier_mma_m" + std::to_string(tile));
    EXPECT_TRUE(k.implemented) << k.name;
    for (const AttendInstance& i : host_kernels().attend) {
      if (i.path != KernelPath::wgmma && i.query_tile == tile && i.qk_dim == 128 && i.kv_dtype == traces::Dtype::bf16) {
        EXPECT_LE(i.stages, k.stages) << i.name;
      }
    }
  }
}

}  // namespace
}  // namespace espalier::kernels
