// rag: retrieval prompts. A system prompt in two shared segments, passages from a pool of Zipf popularity, a private
// tail. Where the per-request system segment stands decides what is shared: before the passages (as recorded) it ends
// all sharing, behind them passages in retrieval order share a little, passages in popularity order share more.
#include <algorithm>
#include <cmath>
#include <vector>

#include "traces/families/building.h"

namespace espalier::traces {
namespace {

enum class Layout : std::int64_t { recorded, hoisted, sorted };

/// Length of the per-request system segment in the recorded prompts (RAGPulse); part of the private tail.
constexpr std::int64_t kRequestSegment = 437;

/// `count` different passages in the order drawn.
std::vector<std::int64_t> draw_passages(core::Rng& rng, const ZipfTable& pool, std::int64_t count) {
  count = std::min(count, pool.ranks());
  std::vector<std::int64_t> drawn;
  const auto fresh = [&](std::int64_t id) { return std::find(drawn.begin(), drawn.end(), id) == drawn.end(); };
  const auto size = [&] { return static_cast<std::int64_t>(drawn.size()); };
  // A steep popularity draws the same few passages again and again; the most popular unused ones then fill up.
  for (std::int64_t tries = 32 * count; tries > 0 && size() < count; --tries) {
    const std::int64_t id = pool.draw(rng);
    if (fresh(id)) drawn.push_back(id);
  }
  for (std::int64_t id = 0; size() < count; ++id) {
    if (fresh(id)) drawn.push_back(id);
  }
  return drawn;
}

/// Private prompt from 0.18 of `longest` to all of it. The fourth power puts the median at 0.23 and the 90th percentile
/// at 0.72 of it, as in the recorded prompts: few carry a long history.
std::int64_t draw_private(core::Rng& rng, std::int64_t longest) {
  const double x = static_cast<double>(longest) * (0.18 + 0.82 * std::pow(rng.uniform(), 4));
  return std::clamp<std::int64_t>(std::llround(x), 1, longest);
}

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t requests = whole_option(options, "requests");
  const std::int64_t roots = whole_option(options, "roots");
  const std::int64_t root_tokens = whole_option(options, "root");
  const std::int64_t middle_tokens = whole_option(options, "middle");
  const std::int64_t passages = whole_option(options, "passages");
  const std::int64_t tail = whole_option(options, "tail");
  const std::int64_t output = whole_option(options, "output");
  const auto layout = static_cast<Layout>(whole_option(options, "layout"));
  const LengthRange passage = {real_option(options, "passage"), 0.4, 1, 1'000'000};
  const ZipfTable middles(whole_option(options, "middles"), 1.0);
  const ZipfTable pool(whole_option(options, "pool"), real_option(options, "exponent"));
  core::Rng rng(seed);
  std::vector<std::int64_t> passage_tokens;
  for (std::int64_t p = 0; p < pool.ranks(); ++p) passage_tokens.push_back(draw_length(rng, passage));
  SegmentTrie trie;
  for (std::int64_t r = 0; r < requests; ++r) {
    const std::int64_t middle = middles.draw(rng);
    std::int64_t at = descend(trie, kNoParent, middle % roots, root_tokens);
    at = descend(trie, at, middle, middle_tokens);
    std::vector<std::int64_t> list = draw_passages(rng, pool, rng.integer((passages + 1) / 2, passages));
    std::int64_t rest = draw_private(rng, tail);
    rest += draw_generated(rng, draw_uniform(rng, 1.0 / 7.0, output));
    if (layout == Layout::recorded) {
      const std::int64_t first = std::min(kRequestSegment, rest - 1);
      at = add_node(trie.source, at, first);
      rest -= first;
    }
    if (layout == Layout::sorted) std::sort(list.begin(), list.end());
    for (const std::int64_t p : list) at = descend(trie, at, p, passage_tokens[static_cast<std::size_t>(p)]);
    add_tail(trie.source, at, rest);
  }
  contract_chains(trie.source);
  return make_forest(trie.source);
}

}  // namespace

Family rag_family() {
  return {"rag",
          "system segments, passages of Zipf popularity, private tails; dedupe 1.35-1.5, more with a small pool",
          {{"requests", 64, 1, 8192, "running requests"},
           {"layout", 2, 0, 2, "order of the prompt's segments", OptionKind::whole, {"recorded", "hoisted", "sorted"}},
           {"passages", 8, 0, 64, "most passages of a request; uniform from half of it"},
           {"pool", 3000, 1, 100000, "different passages"},
           {"exponent", 1, 0, 4, "Zipf exponent of their popularity", OptionKind::real},
           {"passage", 250, 1, 100000, "median passage tokens (sigma 0.4)"},
           {"roots", 3, 1, 64, "different first system segments"},
           {"root", 512, 1, kLongestOption, "tokens of the first system segment"},
           {"middles", 10, 1, 1000, "different second system segments"},
           {"middle", 512, 1, kLongestOption, "tokens of the second system segment"},
           {"tail", 2500, 1, kLongestOption, "longest private prompt; most are near a fifth of it"},
           {"output", 560, 0, kLongestOption, "longest output; uniform from a seventh of it"}},
          generate};
}

}  // namespace espalier::traces
