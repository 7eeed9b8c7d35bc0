// What reading costs a CTA, before anything is known of the others: by the device, or by the cost model that was asked
// for.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/units.h"
#include "scheduler/strategies/tile_kernel.h"

namespace espalier::scheduler::planning {

/// Prices of one kernel's pieces as a line through two of them.
struct PieceLine {
  double one_us = 0, more_us = 0;  ///< of one KV tile, and of each further one
  std::int64_t kv_tile = 1;
  /// Of the longest piece of whole KV tiles that costs no more; one KV tile at least.
  std::int64_t tokens_within(double us) const;
};

class PiecePrices {
 public:
  explicit PiecePrices(const PlanRequest& request);
  /// Priced by the device itself, which is what forecasts know ("analytic").
  bool of_device() const { return model_ == nullptr; }
  /// SM time of a KV token in a full tile: what the SM computes, or its share of L2, whatever is longer.
  double token_us(const TileKernel& kernel) const;
  /// One CTA on a full device, at its share of HBM. Planners ask for every tile of every cover they try.
  double piece_us(const TileKernel& kernel, std::int64_t tokens) const {
    if (model_ != nullptr) return modelled_us(kernel, tokens);
    const double tiles = static_cast<double>(core::ceil_div(tokens, std::int64_t{kernel.config->kv_tile}));
    return fixed_us_ +
           kernel.residents * std::max(tiles * kernel.tile_us, static_cast<double>(tokens) * sm_us_per_token_);
  }
  PieceLine line(const TileKernel& kernel) const;

 private:
  double modelled_us(const TileKernel& kernel, std::int64_t tokens) const;

  const PlanRequest& request_;
  const costmodel::CostModel* model_ = nullptr;
  double fixed_us_, sm_us_per_token_;
};

}  // namespace espalier::scheduler::planning
