#include "viz/explore/plan_edit.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "sim/draft_moves.h"
#include "viz/explore/queue_edit.h"

namespace espalier::viz {
namespace {

using scheduler::Plan;
using scheduler::TaskId;

/// Place of a task among the pieces of a plan's draft, which leave out padding; nothing for padding and unknown ids.
std::optional<std::size_t> piece_index(const Plan& plan, std::int32_t task) {
  std::size_t index = 0;
  for (const scheduler::Launch& launch : plan.launches) {
    for (std::int32_t p = launch.phases.begin; p < launch.phases.end; ++p) {
      const scheduler::Phase& phase = plan.phases[static_cast<std::size_t>(p)];
      if (phase.kind != scheduler::PhaseKind::tasks) continue;
      for (std::int32_t t = phase.range.begin; t < phase.range.end; ++t) {
        const bool padding = plan.tasks[TaskId(t)].kind == scheduler::TaskKind::padding;
        if (t == task) return padding ? std::nullopt : std::optional(index);
        index += !padding;
      }
    }
  }
  return std::nullopt;
}

/// One edit of a draft; each part returns why it can't be, or nothing.
struct DraftEditor {
  const sim::DraftSpace& space;
  sim::PlanDraft& draft;
  std::size_t at;
  std::vector<sim::DraftPiece>& pieces = draft.pieces;

  std::ptrdiff_t offset(std::size_t i) const { return static_cast<std::ptrdiff_t>(i); }

  std::string split_tokens() const {
    const std::int64_t tile = space.kernels[static_cast<std::size_t>(pieces[at].kernel)].config.kv_tile;
    const std::int64_t tiles = (sim::piece_tokens(pieces[at]) + tile - 1) / tile;
    if (tiles < 2) return "it reads a single KV tile";
    auto [left, right] = sim::split_tokens(space, pieces[at], (tiles + 1) / 2 * tile);
    pieces[at] = std::move(left);
    pieces.insert(pieces.begin() + offset(at + 1), std::move(right));
    return "";
  }

  std::string split_requests() const {
    const std::vector<scheduler::RequestId> readers = sim::readers_of(space.forest, pieces[at]);
    if (readers.size() < 2) return "it serves a single request";
    auto halves = sim::split_requests(space, pieces[at], readers[readers.size() / 2]);
    if (!halves) return "its requests can't be parted";
    pieces[at] = std::move(halves->first);
    pieces.insert(pieces.begin() + offset(at + 1), std::move(halves->second));
    return "";
  }

  std::string join() const {
    for (std::size_t distance = 1; distance < pieces.size(); ++distance) {
      for (const bool after : {true, false}) {
        if (after ? at + distance >= pieces.size() : distance > at) continue;
        const std::size_t other = after ? at + distance : at - distance;
        auto joined = sim::merge_pieces(space, pieces[at], pieces[other]);
        if (!joined) continue;
        pieces[at] = std::move(*joined);
        pieces.erase(pieces.begin() + offset(other));
        return "";
      }
    }
    return "no other task can be read together with it";
  }

  /// Pieces of another kernel are in another phase: only those of its own count as places.
  std::string move(EditKind kind) const {
    const bool up = kind == EditKind::first || kind == EditKind::earlier,
               far = kind == EditKind::first || kind == EditKind::last;
    std::vector<std::size_t> alike;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (pieces[i].kernel == pieces[at].kernel) alike.push_back(i);
    }
    const auto place = std::find(alike.begin(), alike.end(), at);
    if (up ? place == alike.begin() : place + 1 == alike.end()) {
      return fmt::format("it is the {} of its kernel already", up ? "first" : "last");
    }
    const std::size_t to = up ? (far ? alike.front() : *(place - 1)) : (far ? alike.back() : *(place + 1));
    const auto piece = pieces.begin() + offset(at), target = pieces.begin() + offset(to);
    if (up) {
      std::rotate(target, piece, piece + 1);
    } else {
      std::rotate(piece, piece + 1, target + 1);
    }
    return "";
  }

  std::string change_tile(bool taller) const {
    const auto rows = static_cast<std::int32_t>(sim::readers_of(space.forest, pieces[at]).size());
    const std::int32_t tile = space.kernels[static_cast<std::size_t>(pieces[at].kernel)].config.query_tile;
    std::int32_t best = -1;
    for (std::int32_t k = 0; k < static_cast<std::int32_t>(space.kernels.size()); ++k) {
      const sim::DraftKernel& kernel = space.kernels[static_cast<std::size_t>(k)];
      if (taller ? kernel.config.query_tile <= tile : kernel.config.query_tile >= tile) continue;
      const bool nearer =
          best < 0 ||
          (taller ? kernel.config.query_tile < space.kernels[static_cast<std::size_t>(best)].config.query_tile
                  : kernel.config.query_tile > space.kernels[static_cast<std::size_t>(best)].config.query_tile);
      if (nearer) best = k;
    }
    if (best < 0) {
      return taller ? "no kernel of ours that fits the device has a taller tile" : "no kernel of ours has a lower tile";
    }
    const sim::DraftKernel& kernel = space.kernels[static_cast<std::size_t>(best)];
    if (rows > kernel.queries) {
      return fmt::format("its {} requests don't fit into a tile of {} rows", rows, kernel.config.query_tile);
    }
    pieces[at].kernel = best;
    return "";
  }

  std::string apply(EditKind kind) const {
    switch (kind) {
      case EditKind::split_tokens:
        return split_tokens();
      case EditKind::split_requests:
        return split_requests();
      case EditKind::join:
        return join();
      case EditKind::first:
      case EditKind::earlier:
      case EditKind::later:
      case EditKind::last:
        return move(kind);
      case EditKind::to_queue:
        break;
      case EditKind::taller:
        return change_tile(true);
      case EditKind::lower:
        return change_tile(false);
    }
    return "";
  }
};

}  // namespace

std::string_view edit_name(EditKind kind) {
  constexpr std::array<std::string_view, kEditKinds> kNames = {"split",       "split requests", "join",     "run first",
                                                               "run earlier", "run later",      "run last", "to queue",
                                                               "taller tile", "lower tile"};
  return kNames.at(static_cast<std::size_t>(kind));
}

std::string edit_text(const PlanEdit& edit) {
  if (edit.kind == EditKind::to_queue) {
    const std::string queue = edit.queue == kEmptiestQueue ? "the emptiest queue" : fmt::format("queue {}", edit.queue);
    return fmt::format("move copy {} of task {} to {}", edit.copy, edit.task, queue);
  }
  return fmt::format("{} task {}", edit_name(edit.kind), edit.task);
}

namespace {

/// Why a plan with queues can't be changed so; nothing where it was.
std::string edit_queues(Plan& plan, const PlanEdit& edit) {
  constexpr std::int32_t kToTheEnd = 1 << 30;
  switch (edit.kind) {
    case EditKind::to_queue:
      return move_to_queue(plan, edit.task, edit.copy,
                           edit.queue == kEmptiestQueue ? emptiest_queue(plan) : edit.queue);
    case EditKind::first:
      return move_in_queues(plan, edit.task, -kToTheEnd);
    case EditKind::earlier:
      return move_in_queues(plan, edit.task, -1);
    case EditKind::later:
      return move_in_queues(plan, edit.task, 1);
    default:
      return move_in_queues(plan, edit.task, kToTheEnd);
  }
}

/// The plan made anew from its pieces, one of them changed.
std::variant<Plan, std::string> edit_pieces(const Plan& plan, const costmodel::DeviceSpec& device,
                                            const PlanEdit& edit) {
  const sim::DraftSpace space = sim::make_draft_space(plan.forest, plan.heads, device);
  std::optional<sim::PlanDraft> draft = sim::draft_of(space, plan);
  if (!draft) return "only plans of one-pass attention in our kernels can be edited so";
  const std::optional<std::size_t> at = piece_index(plan, edit.task);
  if (!at || *at >= draft->pieces.size()) return "the plan has no such task";
  const DraftEditor editor{space, *draft, *at};
  if (std::string why = editor.apply(edit.kind); !why.empty()) return why;
  Plan changed = sim::emit_draft(space, *draft);
  keep_queues(plan, changed);
  return changed;
}

}  // namespace

std::variant<Plan, std::string> edit_plan(const Plan& plan, const costmodel::DeviceSpec& device, const PlanEdit& edit) {
  const auto cannot = [&](const std::string& why) { return fmt::format("{}: {}", edit_text(edit), why); };
  const bool orders = edit.kind == EditKind::first || edit.kind == EditKind::earlier || edit.kind == EditKind::later ||
                      edit.kind == EditKind::last;
  std::variant<Plan, std::string> result = plan;
  if (edit.kind == EditKind::to_queue || (orders && !plan.queues.empty())) {
    if (std::string why = edit_queues(std::get<Plan>(result), edit); !why.empty()) return cannot(why);
  } else {
    result = edit_pieces(plan, device, edit);
    if (const auto* why = std::get_if<std::string>(&result)) return cannot(*why);
  }
  auto& changed = std::get<Plan>(result);
  changed.provenance = plan.provenance;
  changed.provenance.why.push_back("by hand: " + edit_text(edit));
  scheduler::seal(changed);
  return result;
}

}  // namespace espalier::viz
