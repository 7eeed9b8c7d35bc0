// The committed figures of the compiled kernels (script/kernels writes and checks them) are those of the kernels that there are.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/json.h"
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

}  // namespace
}  // namespace espalier::kernels
