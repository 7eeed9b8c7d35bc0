// What probes read besides random bytes, and the driver's version: plain functions, the same on every machine.
#include <cctype>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/rng.h"
#include "kernels/cuda_probes.h"

namespace espalier::kernels {

std::string driver_version(std::string_view text) {
  // "… Kernel Module  570.86.15  Release Build …": the first word of digits with two points or one.
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    std::size_t points = 0;
    while (end < text.size() && (std::isdigit(static_cast<unsigned char>(text[end])) != 0 || text[end] == '.')) {
      points += text[end++] == '.' ? 1 : 0;
    }
    const bool begins = at == 0 || std::isspace(static_cast<unsigned char>(text[at - 1])) != 0;
    if (begins && end > at && points > 0 && text[at] != '.') return std::string(text.substr(at, end - at));
    at = end + 1;
  }
  return {};
}

std::vector<std::uint32_t> random_order(std::int64_t count, std::uint64_t seed) {
  ESPALIER_CHECK(count >= 1 && count < (std::int64_t{1} << 32));
  std::vector<std::uint32_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0U);
  core::Rng rng(seed);
  for (std::size_t i = order.size() - 1; i > 0; --i) {
    std::swap(order[i], order[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(i)))]);
  }
  return order;
}

std::vector<std::uint32_t> random_cycle(std::int64_t lines, std::uint64_t seed) {
  constexpr std::uint32_t kLineWords = 32;
  ESPALIER_CHECK(lines < (std::int64_t{1} << 32) / kLineWords);
  const std::vector<std::uint32_t> order = random_order(lines, seed);
  std::vector<std::uint32_t> next(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) next[order[i]] = order[(i + 1) % order.size()] * kLineWords;
  return next;
}

}  // namespace espalier::kernels
