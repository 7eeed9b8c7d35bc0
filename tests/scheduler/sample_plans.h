// Valid plans of every shape the format knows, made by hand (no strategy): what the validator must accept, and what the
// mutation test breaks. All are functions of forest, heads and a seeded stream.
#pragma once

#include <string>
#include <vector>

#include "core/rng.h"
#include "costmodel/device_spec.h"
#include "scheduler/plan.h"

namespace espalier::scheduler::samples {

struct Sample {
  std::string name;
  Plan plan;
};

/// Several roots, uneven lengths, requests at inner nodes, twins.
traces::PrefixForest ragged_forest(core::Rng& rng, int max_nodes, std::int64_t max_tokens);

/// A device on which every kernel of the samples fits.
const costmodel::DeviceSpec& sample_device();

Plan node_plan(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
               core::Rng& rng);  ///< cut nodes, cut groups
Plan request_plan(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                  core::Rng& rng);  ///< a request's path in pieces
Plan block_plan(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                core::Rng& rng);  ///< blocks across node borders
Plan headwise_plan(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                   core::Rng& rng);  ///< each KV head cut its own way
Plan fold_plan(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
               core::Rng& rng);  ///< shared partials folded in
Plan cascade_plan(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                  core::Rng& rng);  ///< pairwise merges in place
Plan arrival_plan(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                  core::Rng& rng);  ///< merge trees on arrival
Plan queue_plan(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                core::Rng& rng);  ///< persistent, grid barrier
Plan two_gemm_plan(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                   core::Rng& rng);  ///< scores, softmax, values
Plan mixed_plan(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                core::Rng& rng);  ///< two GEMMs for one root only

/// One of each for this forest.
std::vector<Sample> all_samples(const traces::PrefixForest& forest, const traces::HeadConfig& heads, core::Rng& rng);

}  // namespace espalier::scheduler::samples
