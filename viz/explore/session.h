// The explorer's state and everything that can be done to it, as plain data: what panels read, what clicks and keys
// turn into. No window is needed to try any of it.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "viz/explore/outcome.h"

namespace espalier::viz {

/// Tabs of the wide card.
enum class Panel : std::uint8_t { timeline, tasks, nodes, requests, strategies };
/// Tabs of the narrow one; fit: where a measurement is on show.
enum class Insight : std::uint8_t { why, helps, roofline, fit };

/// Part of a picture that is shown, as shares of the whole.
struct Span1 {
  double begin = 0, end = 1;
  double size() const { return end - begin; }
  friend bool operator==(const Span1&, const Span1&) = default;
};

/// Tasks of a side, of whatever plan it has, by where they stand in the roofline.
struct Brush {
  SideId side = SideId::a;
  Span1 intensity, rate;  ///< FLOPs a byte of KV, GFLOP/s
  friend bool operator==(const Brush&, const Brush&) = default;
};

struct Look {
  Theme theme = Theme::dark;
  ColourBy colour_by = ColourBy::queries;
  Paint isolated = Paint::none;  ///< the only colour that isn't dimmed; none: all are shown
  Panel panel = Panel::timeline;
  Insight insight = Insight::why;
  SideId edited = SideId::a;   ///< whose controls are shown
  Span1 time;                  ///< of the longer of both makespans
  std::optional<Span1> range;  ///< of it, measured
  std::optional<Brush> brush;  ///< whose tasks are lit while nothing is selected
  Span1 forest_requests, forest_tokens;
  std::int32_t sort_column = -1;  ///< of the table that is shown; -1: by id
  bool sort_down = true;
  std::string filter;     ///< of the table's rows
  std::int32_t copy = 0;  ///< of the selected task, for moves between queues
  bool playing = false;   ///< requests go on decoding
  bool help = false;
  bool palette = false;  ///< commands by name
  std::string palette_text;
  friend bool operator==(const Look&, const Look&) = default;
};

/// A view to come back to.
struct KeptView {
  std::string name;
  Settings settings;
  Look look;
  Selection selection;
  SideId selected_side = SideId::a;
};

/// Another table is sorted and filtered anew.
void show_panel(Look& look, Panel panel);

struct Session {
  Given given;
  Settings settings = bundled_settings();
  Look look;
  Selection selection;               ///< in the ids of what is on show
  SideId selected_side = SideId::a;  ///< whose plan a selected task or merge is of
  std::optional<Selection> awaited;  ///< of a kept view: selected when what it is of is on show
  History history;
  std::vector<KeptView> kept;
  std::size_t kept_shown = 0;        ///< the one shown last
  std::vector<std::string> exports;  ///< formats asked for; who shows the session writes them
  std::string said;                  ///< a sentence that who shows the session shows
};

// What can be done. Every one of them has a control or a key.
struct Choose {
  Change change;
  bool held = false;  ///< goes on with the drag of the step before
};
struct Select {
  Selection item;
  SideId side = SideId::a;
};
/// Lights up tasks by where they stand in the roofline, selecting nothing; nothing: no longer.
struct BrushTasks {
  std::optional<Brush> brush = {};
};
/// Which copy of the selected task a move to another queue is of.
struct ChooseCopy {
  std::int32_t copy;
};
struct ShowPanel {
  Panel panel;
};
struct ShowInsight {
  Insight insight;
};
struct EditSide {
  SideId side;
};
struct SetColourBy {
  ColourBy colour_by;
};
/// Dims all other colours; once more, or none: shows all.
struct Isolate {
  Paint paint = Paint::none;
};
/// Sums up a range of time, in shares of the whole axis; nothing: no longer.
struct Measure {
  std::optional<Span1> range = {};
};
struct SetTheme {
  Theme theme;
};
struct ShowHelp {
  bool shown;
};
struct SortBy {
  std::int32_t column;
};
struct Filter {
  std::string text;
};
/// Whether requests go on decoding by themselves; and by how many tokens they do so now.
struct Play {
  bool on;
};
struct Decode {
  std::int32_t tokens;
};
enum class Plane : std::uint8_t { time, forest };
/// Wheel over a picture: `factor` < 1 shows less; the point at `at` (and `at_y` in the forest), shares of what is
/// shown, stays where it is.
struct Zoom {
  Plane plane;
  double factor = 1, at = 0.5, at_y = 0.5;
};
/// Drag: by shares of what is shown.
struct Pan {
  Plane plane;
  double by = 0, by_y = 0;
};
struct FitAll {};
struct FitSelection {};
/// Writes what is shown of the edited side: png, svg, html, csv, perfetto, its plan; of both: both.html, both.perfetto.
struct Export {
  std::string format;
};
/// Shows a sentence until the next action.
struct Say {
  std::string sentence;
};
struct ShowPalette {
  bool shown;
};
struct TypePalette {
  std::string text;
};
struct KeepView {};
struct ShowKept {
  std::size_t index;
};
struct Undo {};
struct Redo {};
using Action = std::variant<Choose, Select, BrushTasks, ChooseCopy, ShowPanel, ShowInsight, EditSide, SetColourBy,
                            Isolate, Measure, SetTheme, ShowHelp, SortBy, Filter, Play, Decode, Zoom, Pan, FitAll,
                            FitSelection, Export, Say, ShowPalette, TypePalette, KeepView, ShowKept, Undo, Redo>;

/// Throws Error (usage) where a Choose names something unknown, or edits a plan on show that is being replaced; the
/// session is unchanged then. `outcome` is what is on show.
void perform(Session& session, const Action& action, const Outcome& outcome);

/// What was read again, looked at and changed as before. Edits, tasks and merges of the plans that were go, in undo
/// steps and kept views, too.
Session continued(Session fresh, const Session& before);

/// Whether it is of the session as it is now: nothing newer is being planned.
bool answers(const Outcome& outcome, const Session& session);

/// What acts on the ids of a plan: not while that plan is being replaced.
bool edits_plan(const Action& action);

/// Ids of `before` become those of `after`: a task is followed through edits, what is of another plan or batch is
/// selected no longer, what a kept view waits for is selected. Call before `after` takes `before`'s place.
void follow_selection(Session& session, const Outcome& before, const Outcome& after);

/// The copy of the selected task that is chosen is one that it has.
void clamp_copy(Session& session, const Outcome& outcome);

/// Names of what can be exported, and their formats.
const std::vector<std::pair<std::string, std::string>>& export_menu();

/// Whether something is lit, and all else dimmed.
bool lights(const Session& session);
/// Tasks under a brush, ascending; their nodes and requests.
Linked brushed(const SideOutcome& side, const Brush& brush);
/// What the selection, or without one the brush, touches in the plan of a side. A task of the other side's plan lights
/// up the nodes and requests it has to do with.
Linked linked_of(const Session& session, const Outcome& outcome, SideId side);

/// No more of it than fits its whole; at least a ten-thousandth.
Span1 zoomed(Span1 shown, double factor, double at);
Span1 panned(Span1 shown, double by);

}  // namespace espalier::viz
