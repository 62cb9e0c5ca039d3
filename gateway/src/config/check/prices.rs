//! What is agreed about prices: what its words mean together.

use super::Check;
use crate::config::fault::{Doubt, Wrong};
use crate::config::settings::Provider;
use crate::config::shape::Section;
use crate::identity::TenantPath;
use crate::usage::price::file::{Discount, Moment, Prices, Quote, Rate};
use crate::usage::price::gpu::GpuRule;
use crate::usage::price::{BUILTIN, PriceBook, Terms};

impl Check<'_> {
    /// The section `pricing`.
    pub(super) fn terms(&mut self, root: &Section<'_>) -> Terms {
        let section = root.section("pricing");
        let discounts = section.sections("discounts").iter().filter_map(|one| self.discount(one)).collect();
        let rates = section.sections("rates").iter().filter_map(|one| self.rate(one)).collect();
        let terms = Terms { discounts, currency: section.text("currency").map(str::to_owned), rates };
        // Whatever else they could be: the shipped book shows it. Discounts are judged one by one.
        let money = Terms { discounts: Vec::new(), ..terms.clone() };
        if let Err(why) = PriceBook::parse(BUILTIN).and_then(|book| book.with(&money)) {
            self.fault(section.at("rates"), Wrong::Pricing(why.to_string()));
        }
        terms
    }

    fn discount(&mut self, section: &Section<'_>) -> Option<Discount> {
        let (provider, model) = (section.text("provider")?.to_owned(), section.text("model")?.to_owned());
        let tenant = section.text("tenant").map(str::to_owned);
        if let Some(Err(error)) = tenant.as_deref().map(TenantPath::parse) {
            self.fault(section.at("tenant"), Wrong::Tenant(error));
        }
        let mut prices = Prices::default();
        for (name, text) in section.text_map("prices") {
            match serde_json::from_value(serde_json::Value::String(name.clone())) {
                Ok(bucket) => drop(prices.0.insert(bucket, Quote::One(text))),
                Err(_) => self.fault(section.at("prices"), Wrong::Pricing(format!("`{name}` is nothing with a price"))),
            }
        }
        let discount = Discount {
            tenant,
            provider,
            model,
            from: self.moment(section, "from"),
            to: self.moment(section, "to"),
            percent: section.text("percent").map(str::to_owned),
            prices: section.get("prices").map(|_| prices),
        };
        if let Err(why) = crate::usage::price::discount::Discount::new(&discount) {
            self.fault(section.path.clone(), Wrong::Pricing(why.to_string()));
        }
        Some(discount)
    }

    fn rate(&mut self, section: &Section<'_>) -> Option<Rate> {
        let usd = section.text("usd")?.to_owned();
        Some(Rate { from: self.moment(section, "from")?, usd })
    }

    fn moment(&mut self, section: &Section<'_>, name: &str) -> Option<Moment> {
        let text = section.text(name)?;
        let moment = Moment::read(text);
        if moment.is_none() {
            let why = format!("`{text}` is neither a date such as `2026-01-31` nor a time in RFC 3339");
            self.fault(section.at(name), Wrong::Pricing(why));
        }
        moment
    }

    /// What the machine of a deployment costs.
    pub(super) fn gpu(&mut self, deployment: &Section<'_>, provider: Provider) -> Option<GpuRule> {
        deployment.get("gpu")?;
        if provider != Provider::Engine {
            self.doubt(deployment.at("gpu"), Doubt::UnusedGpu);
            return None;
        }
        let gpu = deployment.section("gpu");
        let (hour, most) = (gpu.text("usd_per_hour")?, gpu.text("usd_per_1m_max")?);
        let kv_percent = gpu.int("kv_percent").and_then(|percent| u8::try_from(percent).ok())?;
        let rule = GpuRule::new(hour, kv_percent, most);
        if rule.is_none() {
            let why = format!("`{hour}` and `{most}` have to be dollars above 0, as decimal numbers such as `2.49`");
            self.fault(deployment.at("gpu"), Wrong::Pricing(why));
        }
        rule
    }
}
