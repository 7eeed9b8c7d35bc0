// FlashAttention-3's way of cutting contexts, shared by its own two strategies and by engines that call it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "scheduler/strategies/common.h"
#include "scheduler/strategies/split_rules.h"

namespace espalier::scheduler::planning {

/// Kernel, and tile by which the rules count: FlashAttention-3's own, with our kernels its blocks rounded up to whole
/// KV tiles.
struct Fa3Kernel {
  const costmodel::KernelConfig& config;
  Fa3Tile tile;
};
/// The kernel for tiles of `rows` live rows. Refuses with class `kernel`.
Fa3Kernel fa3_kernel(const PlanRequest& request, std::int64_t rows);

/// Tokens of one piece when `splits` share the blocks of `tokens` KV tokens evenly.
std::int64_t fa3_piece_tokens(std::int64_t tokens, std::int64_t block, std::int64_t splits);

/// Each of the lengths cut by the dynamic rule: splits, and the bound and share they came from.
struct Fa3Cut {
  std::int64_t bound = 1;
  Fa3Splits splits;
  std::vector<std::int64_t> blocks;
};
/// `packed_rows`: live rows of one KV head of each.
Fa3Cut fa3_dynamic_cut(const PlanRequest& request, const Fa3Tile& tile, std::span<const std::int64_t> lengths,
                       std::int64_t packed_rows);

/// Indices of a cut in launch order: most blocks a split first.
std::vector<std::size_t> fa3_longest_first(const Fa3Cut& cut);

/// The plan of fa3_dynamic. `why` comes first among its sentences.
Plan fa3_dynamic_plan(const PlanRequest& request, const StrategyInfo& info, bool planner, std::vector<std::string> why);

}  // namespace espalier::scheduler::planning
