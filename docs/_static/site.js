// The theme names this button "Search", but it may show more; a name must contain what is shown.
document.addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll(".search-button-field")) {
    const shown = button.textContent.replace(/\s+/g, " ").trim();
    button.setAttribute("aria-label", shown || "Search");
  }
});
