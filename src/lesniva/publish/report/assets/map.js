// The map: pictures of rasters in web mercator, districts, and what a journey draws on them.
"use strict";

const STEPS_PER_DEGREE = 100_000;

/** Latitudes and longitudes of polygons coded as steps (see outlines.py). */
function decoded(outline) {
  return outline.map((rings) =>
    rings.map((steps) => {
      const vertices = [];
      let lon = 0;
      let lat = 0;
      for (let i = 0; i < steps.length; i += 2) {
        lon += steps[i];
        lat += steps[i + 1];
        vertices.push([lat / STEPS_PER_DEGREE, lon / STEPS_PER_DEGREE]);
      }
      return vertices;
    }),
  );
}

/**
 * A map in an element that is in the page already, with overlays to choose from; it shows what is
 * within some bounds, or else the districts.
 */
function mapOn(element, { overlays, districts }, within = null) {
  const map = L.map(element, {
    preferCanvas: true,
    zoomControl: false,
    attributionControl: false,
    zoomSnap: 0.25,
    maxZoom: 17,
  });
  L.control.zoom({ zoomInTitle: word("zoom_in"), zoomOutTitle: word("zoom_out") }).addTo(map);
  L.control.scale({ imperial: false }).addTo(map);
  const pictures = overlays.map((each) => L.imageOverlay(each.image, each.bounds));
  const outlines = L.layerGroup(
    districts.map((district) =>
      L.polygon(decoded(district.outline), {
        color: "#4a4f45",
        weight: 1,
        opacity: 0.8,
        fill: false,
        interactive: false,
      }),
    ),
  );
  const names = L.layerGroup(
    districts
      .filter((district) => district.outline.length)
      .map((district) =>
        L.tooltip({ permanent: true, direction: "center", className: "district-name" })
          .setLatLng(L.polygon(decoded(district.outline)).getBounds().getCenter())
          // an element, as Leaflet takes text for markup
          .setContent(el("span", {}, district.label[language])),
      ),
  );
  const all = L.featureGroup(outlines.getLayers());
  const bounds = L.latLngBounds(within ?? []);
  if (!bounds.isValid() && districts.length) bounds.extend(all.getBounds());
  if (bounds.isValid()) map.fitBounds(bounds, { padding: [4, 4] });
  else map.setView([60, 90], 3);
  outlines.addTo(map);
  names.addTo(map);
  map.on("zoomend", () => partNames(names.getLayers()));
  partNames(names.getLayers());
  function show(place) {
    pictures.forEach((picture, at) => (at === place ? picture.addTo(map) : picture.remove()));
  }
  show(0);
  return { map, show };
}

/** Hide the names that would lie on others, the later ones first. */
function partNames(tooltips) {
  const taken = [];
  for (const element of tooltips.map((tooltip) => tooltip.getElement())) {
    element.style.visibility = "visible";
    const box = element.getBoundingClientRect();
    const apart = (other) =>
      box.right < other.left || box.left > other.right || box.bottom < other.top || box.top > other.bottom;
    if (taken.every(apart)) taken.push(box);
    else element.style.visibility = "hidden";
  }
}

/** The colours of an overlay in words. */
function legend(overlay) {
  if (!overlay) return null;
  const item = ([colour, text]) =>
    el(
      "li",
      {},
      swatch(colour),
      Array.isArray(text) ? either(text) : number(text, Number.isInteger(text) ? 0 : 2),
    );
  return el("ul", { class: "legend" }, overlay.legend.map(item));
}

function swatch(colour, shape = "") {
  const element = el("span", { class: `swatch ${shape}` });
  element.style.setProperty("--colour", colour);
  return element;
}
