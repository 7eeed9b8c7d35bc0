// tune_state/1: where the searches of a run stand, checked on the way in.
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/hash.h"
#include "core/json.h"
#include "sim/tuner.h"

namespace espalier::sim {
namespace {

constexpr std::int64_t kMostIterations = 1'000'000'000;
constexpr std::array<std::string_view, 3> kMerges{"launch", "programmatic", "on_arrival"};

void write_draft(core::JsonWriter& w, const std::optional<PlanDraft>& draft, const DraftSpace& space) {
  if (!draft) {
    w.null();
    return;
  }
  std::vector<std::int32_t> begin, end, kernel, kv_begin, kv_end, spans, node, token_begin, token_end;
  for (const DraftPiece& piece : draft->pieces) {
    begin.push_back(piece.begin.value);
    end.push_back(piece.end.value);
    kernel.push_back(piece.kernel);
    kv_begin.push_back(piece.kv_begin);
    kv_end.push_back(piece.kv_end);
    spans.push_back(static_cast<std::int32_t>(piece.spans.size()));
    for (const DraftSpan& span : piece.spans) {
      node.push_back(span.node.value);
      token_begin.push_back(span.begin);
      token_end.push_back(span.end);
    }
  }
  std::vector<std::string> names;
  for (const DraftKernel& k : space.kernels) names.push_back(k.config.name);
  w.begin_object().field("merge", kMerges[static_cast<std::size_t>(draft->merge)]);
  w.field("side_by_side", draft->side_by_side).field("persistent", draft->persistent).field("kernels", names);
  w.field("piece_begin", begin).field("piece_end", end).field("piece_kernel", kernel).field("piece_kv_begin", kv_begin);
  w.field("piece_kv_end", kv_end).field("piece_spans", spans);
  w.field("span_node", node).field("span_begin", token_begin).field("span_end", token_end).end_object();
}

DraftMerge read_merge(const core::JsonView& view) {
  const auto found = std::find(kMerges.begin(), kMerges.end(), view.string());
  if (found == kMerges.end()) throw core::bad_input(view.where(), "launch, programmatic or on_arrival", view.string());
  return static_cast<DraftMerge>(found - kMerges.begin());
}

class DraftReader {
 public:
  DraftReader(const core::JsonView& view, const DraftSpace& space) : view_(view), space_(space) {}

  PlanDraft read() {
    view_.allow_only({"merge", "side_by_side", "persistent", "kernels", "piece_begin", "piece_end", "piece_kernel",
                      "piece_kv_begin", "piece_kv_end", "piece_spans", "span_node", "span_begin", "span_end"});
    PlanDraft draft;
    draft.merge = read_merge(view_.at("merge"));
    draft.side_by_side = view_.at("side_by_side").boolean();
    draft.persistent = view_.at("persistent").boolean();
    std::vector<std::string> names;
    for (const DraftKernel& k : space_.kernels) names.push_back(k.config.name);
    if (view_.at("kernels").strings() != names) {
      throw wrong("the kernels that fit the device", "others (another catalog)");
    }
    const std::size_t pieces = view_.at("piece_begin").size();
    const auto requests = static_cast<std::int32_t>(space_.forest.request_count());
    const std::vector<std::int32_t> begin = column("piece_begin", pieces, 0, requests),
                                    end = column("piece_end", pieces, 0, requests),
                                    kernel =
                                        column("piece_kernel", pieces, 0, static_cast<std::int32_t>(names.size()) - 1),
                                    kv_begin = column("piece_kv_begin", pieces, 0, space_.heads.kv_heads - 1),
                                    kv_end = column("piece_kv_end", pieces, 1, space_.heads.kv_heads),
                                    spans = column("piece_spans", pieces, 1, INT32_MAX);
    read_spans();
    std::size_t at = 0;
    for (std::size_t p = 0; p < pieces; ++p) {
      const auto count = static_cast<std::size_t>(spans[p]);
      if (count > spans_.size() - at) {
        throw wrong(fmt::format("{} spans or more", at + count), fmt::format("{}", spans_.size()));
      }
      DraftPiece piece{RequestId(begin[p]), RequestId(end[p]), {}, kernel[p], kv_begin[p], kv_end[p]};
      piece.spans.assign(spans_.begin() + static_cast<std::ptrdiff_t>(at),
                         spans_.begin() + static_cast<std::ptrdiff_t>(at + count));
      at += count;
      check_piece(p, piece);
      draft.pieces.push_back(std::move(piece));
    }
    if (draft.pieces.empty() || at != spans_.size()) throw wrong("pieces that use every span", "others");
    return draft;
  }

 private:
  core::Error wrong(const std::string& expected, const std::string& got) const {
    return core::bad_input(view_.where(), expected, got);
  }

  std::vector<std::int32_t> column(std::string_view name, std::size_t rows, std::int32_t low, std::int32_t high) const {
    std::vector<std::int32_t> values = view_.at(name).integers32(low, high);
    if (values.size() != rows) throw wrong(fmt::format("{} rows in {}", rows, name), fmt::format("{}", values.size()));
    return values;
  }

  void read_spans() {
    const std::size_t count = view_.at("span_node").size();
    const std::vector<std::int32_t> node = column("span_node", count, 0,
                                                  static_cast<std::int32_t>(space_.forest.node_count()) - 1),
                                    begin = column("span_begin", count, 0, INT32_MAX),
                                    end = column("span_end", count, 1, INT32_MAX);
    for (std::size_t s = 0; s < count; ++s) {
      const DraftSpan span{NodeId(node[s]), begin[s], end[s]};
      if (span.begin >= span.end || span.end > space_.forest.tokens[span.node]) {
        throw wrong(fmt::format("tokens of node {}", node[s]), fmt::format("[{}, {})", begin[s], end[s]));
      }
      spans_.push_back(span);
    }
  }

  void check_piece(std::size_t p, const DraftPiece& piece) const {
    const auto fail = [&](const std::string& expected) {
      throw wrong(fmt::format("piece {} {}", p, expected), "another");
    };
    if (piece.begin >= piece.end || piece.kv_begin >= piece.kv_end) fail("with requests and heads");
    for (std::size_t s = 0; s < piece.spans.size(); ++s) {
      const DraftSpan& span = piece.spans[s];
      if (seen_by(space_.forest, span.node, piece.begin, piece.end) == 0) fail("whose requests see its tokens");
      if (s > 0 && (piece.spans[s - 1].node > span.node ||
                    (piece.spans[s - 1].node == span.node && piece.spans[s - 1].end > span.begin))) {
        fail("with spans in order");
      }
    }
    const auto rows = static_cast<std::int32_t>(readers_of(space_.forest, piece).size());
    if (rows > space_.kernels[static_cast<std::size_t>(piece.kernel)].queries) fail("that fits its query tile");
  }

  const core::JsonView& view_;
  const DraftSpace& space_;
  std::vector<DraftSpan> spans_;
};

void require_same(const core::JsonView& view, const std::string& expected) {
  if (view.string() != expected) {
    throw core::bad_input(view.where(), expected + " (the state is of another run)", view.string());
  }
}

void check_key(const core::JsonView& view, const TuneKey& key) {
  require_same(view.at("input"), key.input);
  if (view.at("snapshot").integer() != key.snapshot) {
    throw core::bad_input(view.where(), fmt::format("snapshot {} (the state is of another run)", key.snapshot),
                          fmt::format("{}", view.at("snapshot").integer()));
  }
  require_same(view.at("forest_hash"), core::hash_text(key.forest_hash));
  require_same(view.at("device"), key.device);
  require_same(view.at("device_hash"), core::hash_text(key.device_hash));
  require_same(view.at("heads"), key.heads);
  require_same(view.at("seed"), fmt::format("{}", key.seed));
}

TuneState read_entry(const core::JsonView& view, const DraftSpace& space) {
  TuneState state;
  state.iteration = view.at("iteration").integer(0, kMostIterations);
  state.accepted = view.at("accepted").integer(0, kMostIterations);
  state.start_hash = view.at("start_hash").hash();
  const auto read = [&](std::string_view name, std::optional<PlanDraft>& draft, double& us) {
    const core::JsonView at = view.at(name);
    us = view.at(std::string(name) + "_us").number(0);
    if (!at.is_null()) draft = DraftReader(at, space).read();
  };
  read("best", state.best, state.best_us);
  read("current", state.current, state.current_us);
  if (state.best.has_value() != state.current.has_value()) {
    throw core::bad_input(view.where(), "a best and a current draft", "one of them");
  }
  return state;
}

}  // namespace

std::string write_tune_state(std::span<const TuneEntry> entries, std::span<const DraftSpace* const> spaces) {
  ESPALIER_CHECK_OP(entries.size(), ==, spaces.size());
  core::JsonWriter w;
  w.begin_object().field("schema", "tune_state/1").key("entries").begin_array();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto& [key, state] = entries[i];
    w.begin_object()
        .field("input", key.input)
        .field("snapshot", key.snapshot)
        .field("forest_hash", core::hash_text(key.forest_hash));
    w.field("device", key.device).field("device_hash", core::hash_text(key.device_hash)).field("heads", key.heads);
    w.field("seed", fmt::format("{}", key.seed)).field("start_hash", core::hash_text(state.start_hash));
    w.field("iteration", state.iteration).field("accepted", state.accepted);
    w.field("best_us", state.best_us).field("current_us", state.current_us);
    w.key("best");
    write_draft(w, state.best, *spaces[i]);
    w.key("current");
    write_draft(w, state.current, *spaces[i]);
    w.end_object();
  }
  return w.end_array().end_object().finish();
}

std::vector<TuneState> read_tune_state(std::string_view text, const std::string& file, std::span<const TuneKey> keys,
                                       std::span<const DraftSpace* const> spaces) {
  const core::JsonDocument document = core::JsonDocument::parse(text, file);
  const core::JsonView root = document.root();
  root.require_schema("tune_state/1");
  root.allow_only({"schema", "entries"});
  const core::JsonView entries = root.at("entries");
  if (entries.size() != keys.size()) {
    throw core::bad_input(entries.where(), fmt::format("{} entries (the state is of another run)", keys.size()),
                          fmt::format("{}", entries.size()));
  }
  std::vector<TuneState> states;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const core::JsonView view = entries.at(i);
    view.allow_only({"input", "snapshot", "forest_hash", "device", "device_hash", "heads", "seed", "start_hash",
                     "iteration", "accepted", "best_us", "current_us", "best", "current"});
    check_key(view, keys[i]);
    states.push_back(read_entry(view, *spaces[i]));
  }
  return states;
}

}  // namespace espalier::sim
