// Forests of real traces: every strategy's plan is proven at full size, and run exactly with node lengths scaled down.
// All snapshots are proven; two of the eight of a file are run (ESPALIER_FULL=1: all). Sanitized builds take fewer and
// shorter ones.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "core/file.h"
#include "forests.h"
#include "plan_checks.h"
#include "traces/import.h"

namespace espalier::property {
namespace {

const std::filesystem::path kFolder = std::filesystem::path(ESPALIER_SHARED_DATA) / "forests";
constexpr std::size_t kSnapshots = 8;
constexpr std::int64_t kMostTokens = kSanitized ? 2048 : 65536;  // of a scaled forest

/// Names of the forest files without their ending; "none" alone when there are none.
std::vector<std::string> forest_files() {
  std::vector<std::string> names;
  if (std::filesystem::is_directory(kFolder)) {
    for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
      if (entry.path().extension() == ".jsonl") names.push_back(entry.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  if (names.empty()) names.push_back("none");
  return names;
}

class RealForests : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "none") GTEST_SKIP() << "the folder of real forests is not beside this checkout";
    const std::string path = (kFolder / (GetParam() + ".jsonl")).string();
    forests_ = traces::read_forests(core::read_file(path), path, std::nullopt);
    ASSERT_EQ(forests_.size(), kSnapshots);
  }
  /// Snapshots to try: `few` of them evenly spaced, all in a full run.
  std::vector<PrefixForest> sample(std::size_t few) const {
    std::vector<PrefixForest> picked;
    for (std::size_t i = 0; i < forests_.size(); i += full_run() ? 1 : kSnapshots / few) picked.push_back(forests_[i]);
    return picked;
  }
  std::vector<PrefixForest> forests_;
  costmodel::DeviceSpec device_ = costmodel::find_device("h100-sxm");
};

TEST_P(RealForests, GetValidPlansAtFullSize) {
  const traces::HeadConfig heads = traces::parse_heads("32/8/128");
  for (const PrefixForest& forest : sample(kSanitized ? 1 : kSnapshots)) {
    for (const Subject& subject : subjects()) {
      SCOPED_TRACE(forest.name + ", " + subject_name(subject));
      sound_plan(subject, forest, heads, device_);
    }
  }
}

TEST_P(RealForests, AreComputedExactly) {
  const traces::HeadConfig heads = traces::parse_heads("4/1/16");
  const kernels::TensorSource source{31};
  for (const PrefixForest& whole : sample(kSanitized ? 1 : 2)) {
    const PrefixForest forest = shortened(whole, kMostTokens);
    const kernels::AttentionOutput want = kernels::naive_attention(forest, heads, source);
    for (const scheduler::Strategy* strategy : scheduler::strategies()) {
      const Subject subject{std::string(strategy->info().name), scheduler::KernelSet::ours};
      SCOPED_TRACE(forest.name + ", " + subject_name(subject));
      const auto plan = sound_plan(subject, forest, heads, device_);
      if (std::holds_alternative<scheduler::Plan>(plan)) {
        expect_rows(kernels::interpret(std::get<scheduler::Plan>(plan), source), want, "as written");
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, RealForests, ::testing::ValuesIn(forest_files()),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace espalier::property
