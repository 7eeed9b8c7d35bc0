// The committed figures of the compiled kernels (script/kernels writes and checks them) are those of the kernels that there are.
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
  for (const auto list : {on_host::stream_probes(), on_host::ring_probes(), on_host::pipe_probes(), on_host::launch_probes()}) {
    for (const ProbeInstance& probe : list) names.emplace_back(probe.name);
  }
  return names;
}

TEST(KernelResources, NameEveryKernelForEveryArchitecture) {
  const core::JsonDocument document = resources();
  std::set<std::pair<std::string, std::string>> have, want;
  const core::JsonView rows = document.root().at("kernels");
  for (std::size_t i = 0; i < rows.size(); ++i) have.emplace(rows.at(i).at("name").string(), rows.at(i).at("arch").string());
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

/// What the catalog calls implemented is compiled: an instance of the same tiles and stages, whatever its heads.
TEST(KernelCatalogOfInstances, ClaimsNoKernelThatIsNotThere) {
  std::size_t implemented = 0;
  for (const costmodel::KernelConfig& k : costmodel::kernel_catalog()) {
    if (!k.implemented) continue;
    ++implemented;
    if (k.role == costmodel::KernelRole::reduce) {
      EXPECT_TRUE(std::any_of(host_kernels().reduce.begin(), host_kernels().reduce.end(),
                              [&](const ReduceInstance& i) { return i.threads == 32U * static_cast<unsigned>(k.warps); }))
          << k.name;
      continue;
    }
    const auto matches = [&](const AttendInstance& i) { return i.query_tile == k.query_tile && i.kv_tile == k.kv_tile && i.stages == k.stages; };
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
      if (i.query_tile == tile && i.qk_dim == 128 && i.kv_dtype == traces::Dtype::bf16) {
        EXPECT_LE(i.stages, k.stages) << i.name;
      }
    }
  }
}

}  // namespace
}  // namespace espalier::kernels
