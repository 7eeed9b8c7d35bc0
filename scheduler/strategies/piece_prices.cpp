#include "scheduler/strategies/piece_prices.h"

#include <cmath>

namespace espalier::scheduler::planning {
namespace {

/// KV tiles of the longest piece.
constexpr double kMostTiles = 1e7;

}  // namespace

std::int64_t PieceLine::tokens_within(double us) const {
  const double tiles = 1 + std::floor(std::max(0.0, us - one_us) / more_us);
  return kv_tile * static_cast<std::int64_t>(std::clamp(tiles, 1.0, kMostTiles));
}

PiecePrices::PiecePrices(const PlanRequest& request)
    : request_(request),
      fixed_us_((request.device.cta_start_ns + request.device.cta_end_ns + request.device.hbm_latency_ns) * 1e-3),
      sm_us_per_token_(static_cast<double>(request.heads.kv_bytes_per_token_head()) * request.device.sms /
                       request.device.hbm_achievable_bytes_per_us()) {
  if (request.model && request.model->name() != "analytic") model_ = request.model.get();
}

double PiecePrices::token_us(const TileKernel& kernel) const {
  const double tile = kernel.config->kv_tile;
  if (model_ != nullptr) {
    const std::int64_t few = 8 * kernel.config->kv_tile;
    return (piece_us(kernel, 2 * few) - piece_us(kernel, few)) / (static_cast<double>(few) * kernel.residents);
  }
  const double share = request_.device.l2_bytes_per_us() / request_.device.sms;
  return std::max(kernel.tile_us / tile, static_cast<double>(request_.heads.kv_bytes_per_token_head()) / share);
}

PieceLine PiecePrices::line(const TileKernel& kernel) const {
  const std::int64_t tile = kernel.config->kv_tile;
  const double one = piece_us(kernel, tile), many = piece_us(kernel, 65 * tile);
  return {one, std::max((many - one) / 64, 1e-9), tile};
}

double PiecePrices::modelled_us(const TileKernel& kernel, std::int64_t tokens) const {
  costmodel::TaskShape shape;
  shape.queries = kernel.queries;
  shape.heads = heads_per_copy(*kernel.config, request_.heads);
  shape.kv_tokens = tokens;
  shape.visible_pairs = tokens * shape.queries;
  return model_->task(shape, *kernel.config).us;
}

}  // namespace espalier::scheduler::planning
