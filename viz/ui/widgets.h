// The explorer's controls: ImGui's, in our sizes, each noting where it stands under which name, so that tests click by
// name.
#pragma once

#include <imgui.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "viz/explore/views.h"
#include "viz/picture/drawing.h"
#include "viz/ui/fonts.h"

namespace espalier::viz {

/// Where widgets stood in the last frame, by name, in pixels.
using Placements = std::map<std::string, Area, std::less<>>;

class Widgets {
 public:
  /// `clear` fills the clip rectangle of a draw command with the colour that its data is; none where nothing is faster
  /// than a filled box.
  Widgets(const Fonts& fonts, float scale, Theme theme, Placements& placed, ImDrawCallback clear)
      : fonts_(fonts), scale_(scale), theme_(theme), placed_(placed), clear_(clear) {}

  float px(double value) const { return static_cast<float>(value) * scale_; }
  Theme theme() const { return theme_; }
  ImFont* font(double size, bool bold) const { return fonts_.at(size, bold); }
  /// `text` in lines of at most `width` pixels at scale 1 as they are drawn, or in one, cut.
  std::vector<std::string> lines_of(const std::string& text, double width, double size = 12.5, bool bold = false) const;
  std::string fitted_line(const std::string& text, double width, double size, bool bold) const;

  /// A card with a title, its content beginning below; end_card() always follows.
  void begin_card(const char* name, const Area& area, const char* title, const std::string& remark = {});
  void end_card();
  /// Covers a row that the lower edge of a scrolling card cuts.
  void cover_cut_row(const Area& area);
  void heading(const char* text);
  void text(const std::string& text, Paint paint, double size = 12.5, bool bold = false);
  void paragraph(const std::string& text, Paint paint, double size = 12.5);

  bool button(const char* label, bool enabled = true);
  /// One of several, side by side; the one chosen by a click.
  std::optional<std::size_t> segments(const char* name, const std::vector<std::string>& labels, std::size_t chosen);
  /// A row with a name on the left.
  std::optional<std::size_t> combo(const char* label, const std::vector<std::string>& entries, std::size_t chosen);
  struct Range {
    double low = 0, high = 1;
    bool whole = false, log = false;
    const char* format = "%.4g";
  };
  /// A button that opens a list; `shown` stands on it in place of its name.
  std::optional<std::size_t> menu(const char* label, const std::vector<std::string>& entries,
                                  const std::string& shown = {});
  /// A line of text; the new one while it is typed.
  std::optional<std::string> input(const char* name, const char* hint, const std::string& text, double width);
  /// True while it changes `value`.
  bool slider(const char* label, double& value, const Range& range);

  /// What the mouse does over a picture; places are pixels at scale 1 from its corner.
  struct Pointer {
    bool over = false, clicked = false, dragged = false, double_clicked = false, shift = false;
    double x = 0, y = 0, dx = 0, dy = 0, wheel = 0;
    double from_x = 0, from_y = 0;  ///< where the button was pressed
  };
  Pointer picture(const char* name, const Scene& scene);
  void tooltip(const Facts& facts, const std::string& hint);
  void tooltip(const std::vector<std::string>& sentences);
  void facts(const Facts& facts);
  /// Remembers where the last item stands.
  void note(std::string_view name);

 private:
  /// Measures lines as they are drawn.
  WidthOf width_of(double size, bool bold) const;
  void clear_ground(const Area& area);
  void label(const char* text);
  void chevron(const Area& box);
  const Fonts& fonts_;
  float scale_;
  Theme theme_;
  Placements& placed_;
  ImDrawCallback clear_;
  std::vector<Area> rows_;  ///< what the card's rows hold, in pixels
};

}  // namespace espalier::viz
